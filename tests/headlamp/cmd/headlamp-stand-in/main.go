// A stand-in for the backend of Headlamp 0.45.0, where it meets its API server and its issuer.
//
// This is not Headlamp. Its module is not to be had from the Go module proxy, so Headlamp itself was
// not run. This program was written from its source as it was read, behaviour for behaviour, of the
// same libraries: client-go (rest.InClusterConfig, rest.TransportFor, portforward over SPDY),
// httputil.ReverseProxy, go-oidc and x/oauth2. Beside each behaviour stands where in Headlamp's source
// it was read (backend/ left out). Everything that touches neither the API server nor the issuer is
// left out, as are the parts that are off unless asked for: helm, multiplexer, cache, kubeconfigs.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// options carries Headlamp's own flags, by their names (pkg/config/config.go).
type options struct {
	contextName  string
	listenAddr   string
	port         int
	clientID     string
	clientSecret string
	issuerURL    string
	caFile       string
	callbackURL  string
	scopes       string
	sessionTTL   int
}

func parse() options {
	var o options
	flag.StringVar(&o.contextName, "in-cluster-context-name", "main", "name of the cluster")
	flag.StringVar(&o.listenAddr, "listen-addr", "", "address to listen on")
	flag.IntVar(&o.port, "port", 4466, "port to listen on")
	flag.StringVar(&o.clientID, "oidc-client-id", "", "client id")
	flag.StringVar(&o.clientSecret, "oidc-client-secret", "", "client secret")
	flag.StringVar(&o.issuerURL, "oidc-idp-issuer-url", "", "issuer")
	flag.StringVar(&o.caFile, "oidc-ca-file", "", "CA of the issuer")
	flag.StringVar(&o.callbackURL, "oidc-callback-url", "", "callback URL")
	flag.StringVar(&o.scopes, "oidc-scopes", "profile,email", "scopes beside openid, comma-separated")
	flag.IntVar(&o.sessionTTL, "session-ttl", 86400, "age of the cookie in seconds")
	flag.Parse()
	return o
}

func main() {
	o := parse()
	sessions := newSessions(o.contextName, o.sessionTTL)
	login, err := newLogin(o, sessions)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /oidc", login.begin)
	mux.HandleFunc("GET /oidc-callback", login.end)
	mux.HandleFunc("GET /auth", func(http.ResponseWriter, *http.Request) {}) // a page of the frontend
	cluster, err := inCluster()
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) {
		writeClusters(w, o.contextName, cluster)
	})
	if err != nil {
		// It then runs on without any cluster (cmd/headlamp.go:589-593).
		log.Printf("Failed to get in-cluster context: %v", err)
	} else {
		prefix := "/clusters/" + o.contextName + "/"
		mux.Handle(prefix, login.refreshing(cluster.proxied(prefix, sessions)))
		mux.Handle(prefix+"serviceproxy/{namespace}/{name}", login.refreshing(cluster.serviceProxy(sessions)))
		mux.Handle("POST "+prefix+"portforward", login.refreshing(cluster.portForward(sessions)))
		mux.Handle("POST /drain-node", cluster.drain(sessions))
	}
	server := &http.Server{
		Addr:              net.JoinHostPort(o.listenAddr, fmt.Sprint(o.port)),
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second, // these two: cmd/headlamp.go:144-148
		IdleTimeout:       120 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}

// writeClusters lists what the frontend may know of its clusters, which are null where there is none
// (cmd/headlamp.go, getConfig).
func writeClusters(w http.ResponseWriter, name string, known *cluster) {
	type entry struct {
		Name     string `json:"name"`
		AuthType string `json:"auth_type"`
	}
	var config struct {
		Clusters []entry `json:"clusters"`
	}
	if known != nil {
		config.Clusters = []entry{{name, "oidc"}}
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(config); err != nil {
		log.Print(err)
	}
}

func splitScopes(scopes string) []string {
	return append([]string{"openid"}, strings.Split(scopes, ",")...)
}
