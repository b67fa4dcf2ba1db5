package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// login is the code flow, and the renewal of what it gave (cmd/headlamp.go:1009-1230).
type login struct {
	options  options
	sessions *sessions
	client   *http.Client // to the issuer

	mu     sync.Mutex
	states map[string]bool // in memory, as Headlamp's; forgotten when it restarts
}

func newLogin(o options, s *sessions) (*login, error) {
	pem, err := os.ReadFile(o.caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", o.caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &login{
		options: o, sessions: s, client: &http.Client{Transport: transport}, states: map[string]bool{},
	}, nil
}

// provider asks for the discovery document each time, as Headlamp does.
func (l *login) provider(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, l.client), l.options.issuerURL)
	if err != nil {
		return nil, nil, err
	}
	return provider, &oauth2.Config{
		ClientID:     l.options.clientID,
		ClientSecret: l.options.clientSecret,
		Endpoint:     provider.Endpoint(),
		RedirectURL:  l.options.callbackURL,
		Scopes:       splitScopes(l.options.scopes),
	}, nil
}

func (l *login) begin(w http.ResponseWriter, r *http.Request) {
	_, config, err := l.provider(r.Context())
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	state := rand.Text()
	l.mu.Lock()
	l.states[state] = true
	l.mu.Unlock()
	http.Redirect(w, r, config.AuthCodeURL(state), http.StatusFound)
}

func (l *login) end(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	known := l.states[r.FormValue("state")]
	delete(l.states, r.FormValue("state"))
	l.mu.Unlock()
	if !known {
		fail(w, http.StatusBadRequest, errors.New("invalid request: state is empty or unknown"))
		return
	}
	provider, config, err := l.provider(r.Context())
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	ctx := oidc.ClientContext(r.Context(), l.client)
	tokens, err := config.Exchange(ctx, r.FormValue("code"))
	if err != nil {
		fail(w, http.StatusInternalServerError, fmt.Errorf("failed to exchange token: %w", err))
		return
	}
	idToken, ok := tokens.Extra("id_token").(string)
	if !ok {
		fail(w, http.StatusInternalServerError, errors.New("no id_token in the answer"))
		return
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: l.options.clientID})
	if _, err := verifier.Verify(ctx, idToken); err != nil {
		fail(w, http.StatusInternalServerError, fmt.Errorf("failed to verify ID token: %w", err))
		return
	}
	l.sessions.keep(idToken, tokens.RefreshToken)
	l.sessions.setCookies(w, r, idToken)
	http.Redirect(w, r, "/auth?cluster="+l.options.contextName, http.StatusSeeOther)
}

// refreshing renews a token that ends or has ended, hands the new one to the browser, and still lets
// the request go on with the old one (pkg/auth/middleware.go:124-178). Each request tries for itself;
// whoever finds the refresh token used up goes on as well.
func (l *login) refreshing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := l.sessions.tokenOf(r); token != "" && aboutToExpire(token) {
			if renewed, err := l.renew(r.Context(), token); err != nil {
				log.Printf("failed to refresh token: %v", err)
			} else {
				l.sessions.setCookies(w, r, renewed)
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (l *login) renew(ctx context.Context, idToken string) (string, error) {
	refreshToken := l.sessions.refreshTokenOf(idToken)
	if refreshToken == "" {
		return "", errors.New("no refresh token for it here")
	}
	_, config, err := l.provider(ctx)
	if err != nil {
		return "", err
	}
	source := config.TokenSource(
		oidc.ClientContext(ctx, l.client), &oauth2.Token{RefreshToken: refreshToken},
	)
	tokens, err := source.Token()
	if err != nil {
		return "", err
	}
	renewed, ok := tokens.Extra("id_token").(string)
	if !ok {
		return "", errors.New("no id_token in the answer")
	}
	l.sessions.keep(renewed, tokens.RefreshToken)
	l.sessions.forgetSoon(idToken)
	return renewed, nil
}

func fail(w http.ResponseWriter, status int, err error) {
	log.Print(err)
	http.Error(w, err.Error(), status)
}
