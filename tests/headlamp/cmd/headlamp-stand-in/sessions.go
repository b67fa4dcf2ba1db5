package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	chunkSize     = 3800             // bytes of a token in one cookie (pkg/auth/cookies.go:29)
	refreshBefore = 10 * time.Second // pkg/auth/auth.go:50
	keepOldFor    = 10 * time.Second // pkg/auth/auth.go:46
)

// sessions knows how a browser carries its ID token, and holds refresh tokens, in memory only, each
// under the ID token that it came with (cmd/headlamp.go:1203).
type sessions struct {
	cluster string
	maxAge  int // seconds

	mu      sync.Mutex
	refresh map[string]string
}

func newSessions(cluster string, maxAge int) *sessions {
	return &sessions{cluster: cluster, maxAge: maxAge, refresh: map[string]string{}}
}

func (s *sessions) cookieName(chunk int) string {
	return fmt.Sprintf("headlamp-auth-%s.%d", s.cluster, chunk)
}

// setCookies writes the token in chunks (pkg/auth/cookies.go:33-107). A chunk that is no longer
// needed is deleted, or the next token would be read with the end of this one.
func (s *sessions) setCookies(w http.ResponseWriter, r *http.Request, token string) {
	chunk := 0
	for ; len(token) > 0; chunk++ {
		size := min(chunkSize, len(token))
		http.SetCookie(w, s.cookie(r, chunk, token[:size], s.maxAge))
		token = token[size:]
	}
	for ; ; chunk++ {
		if _, err := r.Cookie(s.cookieName(chunk)); err != nil {
			return
		}
		http.SetCookie(w, s.cookie(r, chunk, "", -1))
	}
}

func (s *sessions) cookie(r *http.Request, chunk int, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name:     s.cookieName(chunk),
		Value:    value,
		Path:     "/clusters/" + s.cluster,
		MaxAge:   maxAge,
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
		Secure:   r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

func (s *sessions) tokenOf(r *http.Request) string {
	var token strings.Builder
	for chunk := 0; ; chunk++ {
		cookie, err := r.Cookie(s.cookieName(chunk))
		if err != nil {
			return token.String()
		}
		token.WriteString(cookie.Value)
	}
}

// authorize puts the cookie's token on a request for the API server. Without a cookie, what the client
// itself sent stays (cmd/headlamp.go:1983-1993).
func (s *sessions) authorize(r *http.Request) {
	if token := s.tokenOf(r); token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
}

// bearer is the token that authorize would send.
func (s *sessions) bearer(r *http.Request) string {
	if token := s.tokenOf(r); token != "" {
		return token
	}
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

func (s *sessions) keep(idToken, refreshToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh[idToken] = refreshToken
}

func (s *sessions) refreshTokenOf(idToken string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh[idToken]
}

// forgetSoon drops an ID token that was replaced, after a while (pkg/auth/auth.go:178).
func (s *sessions) forgetSoon(idToken string) {
	time.AfterFunc(keepOldFor, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.refresh, idToken)
	})
}

// aboutToExpire reads the token without verifying it (pkg/auth/auth.go, IsTokenAboutToExpire).
func aboutToExpire(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var claims struct {
		Expiry int64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return false
	}
	return time.Until(time.Unix(claims.Expiry, 0)) <= refreshBefore
}
