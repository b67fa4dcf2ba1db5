package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

const bearerProtocol = "base64url.bearer.authorization.k8s.io."

// cluster is the API server that the pod's environment and service account name. Of the account only
// the address and the CA are used: no request carries its token (pkg/kubeconfig/kubeconfig.go:1263).
type cluster struct {
	url    *url.URL
	config *rest.Config // without any credential
}

func inCluster() (*cluster, error) {
	found, err := rest.InClusterConfig()
	if err != nil {
		return nil, err
	}
	parsed, err := url.Parse(found.Host)
	if err != nil {
		return nil, err
	}
	config := &rest.Config{
		Host:            found.Host,
		TLSClientConfig: rest.TLSClientConfig{CAFile: found.CAFile, CAData: found.CAData},
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return named{next} })
	return &cluster{parsed, config}, nil
}

// named says who asks, whatever the browser said (pkg/kubeconfig/kubeconfig.go:39-55).
type named struct{ next http.RoundTripper }

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", fmt.Sprintf("Headlamp 0.45.0 (%s/%s)", runtime.GOOS, runtime.GOARCH))
	return n.next.RoundTrip(r)
}

// proxied passes on everything below the cluster's prefix, upgrades as well, and strips no header
// (cmd/headlamp.go:1963-2028, kubeconfig.go:441).
func (c *cluster) proxied(prefix string, s *sessions) http.Handler {
	transport, err := rest.TransportFor(c.config)
	if err != nil {
		// Headlamp swallows this error as well, and then trusts the system's roots (kubeconfig.go:468).
		log.Printf("failed to set up the transport: %v", err)
		transport = http.DefaultTransport
	}
	proxy := httputil.NewSingleHostReverseProxy(c.url)
	proxy.Transport = transport
	return http.StripPrefix(strings.TrimSuffix(prefix, "/"), http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			promoteBearerProtocol(r)
			s.authorize(r)
			r.Header.Set("X-Forwarded-Host", c.url.Host)
			r.Host = c.url.Host
			proxy.ServeHTTP(w, r)
		},
	))
}

// promoteBearerProtocol turns the subprotocol that carries a token into an Authorization header where
// there is none, and removes it (cmd/headlamp.go:2047-2113).
func promoteBearerProtocol(r *http.Request) {
	var kept []string
	for _, protocol := range strings.Split(r.Header.Get("Sec-WebSocket-Protocol"), ",") {
		protocol = strings.TrimSpace(protocol)
		encoded, found := strings.CutPrefix(protocol, bearerProtocol)
		if !found {
			kept = append(kept, protocol)
			continue
		}
		token, err := base64.RawURLEncoding.DecodeString(encoded)
		if err == nil && r.Header.Get("Authorization") == "" {
			r.Header.Set("Authorization", "Bearer "+string(token))
		}
	}
	if r.Header.Get("Sec-WebSocket-Protocol") != "" {
		r.Header.Set("Sec-WebSocket-Protocol", strings.Join(kept, ", "))
	}
}

// as is how Headlamp itself speaks for a user, beside what it passes on.
func (c *cluster) as(token string) *rest.Config {
	config := rest.CopyConfig(c.config)
	config.BearerToken = token
	return config
}

// ask makes a request of Headlamp's own. Raises what the API server says as an error with its status.
func (c *cluster) ask(token, method, path, body string, into any) (int, error) {
	client, err := rest.HTTPClientFor(c.as(token))
	if err != nil {
		return http.StatusInternalServerError, err
	}
	request, err := http.NewRequest(method, c.url.String()+path, strings.NewReader(body))
	if err != nil {
		return http.StatusInternalServerError, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return http.StatusBadGateway, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return http.StatusBadGateway, err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return answer.StatusCode, errors.New(string(text))
	}
	return answer.StatusCode, json.Unmarshal(text, into)
}

// serviceProxy looks a Service up as the user, and then fetches from it itself, over plain HTTP and
// without any token (pkg/serviceproxy/handler.go:53, http.go:17).
func (c *cluster) serviceProxy(s *sessions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		namespace, name := r.PathValue("namespace"), r.PathValue("name")
		var service struct {
			Spec struct {
				Type         string
				ExternalName string
				Ports        []struct{ Port int }
			}
		}
		path := "/api/v1/namespaces/" + namespace + "/services/" + name
		if status, err := c.ask(s.bearer(r), http.MethodGet, path, "", &service); err != nil {
			fail(w, status, err)
			return
		}
		host := name + "." + namespace
		if service.Spec.Type == "ExternalName" {
			host = service.Spec.ExternalName
		}
		if len(service.Spec.Ports) == 0 {
			fail(w, http.StatusBadRequest, errors.New("the service has no port"))
			return
		}
		target := fmt.Sprintf("http://%s:%d%s", host, service.Spec.Ports[0].Port, r.FormValue("request"))
		answer, err := http.Get(target)
		if err != nil {
			fail(w, http.StatusBadGateway, err)
			return
		}
		defer answer.Body.Close()
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body)
	})
}

// portForward opens a local port to one of a pod, over SPDY: the request's order is an access review,
// the pod, then the upgrade (pkg/portforward/handler.go:216-305). It answers when the port is open.
func (c *cluster) portForward(s *sessions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Namespace, Pod, TargetPort string
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		token := s.bearer(r)
		pod := "/api/v1/namespaces/" + asked.Namespace + "/pods/" + asked.Pod
		review := fmt.Sprintf(
			`{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":`+
				`{"namespace":%q,"verb":"create","resource":"pods","subresource":"portforward"}}}`, asked.Namespace)
		var reviewed struct{ Status struct{ Allowed bool } }
		path := "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
		if status, err := c.ask(token, http.MethodPost, path, review, &reviewed); err != nil {
			fail(w, status, err)
			return
		}
		if !reviewed.Status.Allowed {
			fail(w, http.StatusForbidden, errors.New("you may not forward ports here"))
			return
		}
		if status, err := c.ask(token, http.MethodGet, pod, "", &struct{}{}); err != nil {
			fail(w, status, err)
			return
		}
		transport, upgrader, err := spdy.RoundTripperFor(c.as(token))
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		dialer := spdy.NewDialer(
			upgrader, &http.Client{Transport: transport}, http.MethodPost, c.url.JoinPath(pod, "portforward"),
		)
		ready, ended := make(chan struct{}), make(chan error, 1)
		forwarder, err := portforward.New(
			dialer, []string{"0:" + asked.TargetPort}, make(chan struct{}), ready, io.Discard, log.Writer(),
		)
		if err != nil {
			fail(w, http.StatusInternalServerError, err)
			return
		}
		go func() { ended <- forwarder.ForwardPorts() }()
		select {
		case err := <-ended:
			fail(w, http.StatusInternalServerError, err)
		case <-ready:
			ports, _ := forwarder.GetPorts()
			json.NewEncoder(w).Encode(map[string]uint16{"port": ports[0].Local})
		}
	})
}

// drain lies outside the path of the cookie, so no browser sends one with it, and the API server is
// asked without any token (cmd/headlamp.go, drain; issue 5110 of kubernetes-sigs/headlamp).
func (c *cluster) drain(s *sessions) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ NodeName string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			fail(w, http.StatusBadRequest, err)
			return
		}
		path := "/api/v1/nodes/" + asked.NodeName
		if status, err := c.ask(s.bearer(r), http.MethodGet, path, "", &struct{}{}); err != nil {
			fail(w, status, err)
			return
		}
		fmt.Fprintln(w, `{"message":"drain node requested successfully"}`)
	})
}
