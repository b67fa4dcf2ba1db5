// Says what kube-apiserver makes of authentication configurations and tokens, by its own code.
//
//	cd tests/kube && go run ./record <questions >answers
//
// A question is a line of JSON: "config" is the text of an AuthenticationConfiguration, "payload"
// that of a token (left out: only the configuration is judged), "header" that of its header. Of a
// token everything is checked but the signature. An answer is a line of JSON with one of
// "decode_error", "validation" (a list), "init_error", "error", "skip" (nobody's token) and "user".
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	api "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	apiservervalidation "k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

var scheme = runtime.NewScheme()
var codecs = serializer.NewCodecFactory(scheme, serializer.EnableStrict)

func init() { install.Install(scheme) }

type question struct {
	Config  string `json:"config"`
	Payload string `json:"payload"`
	Header  string `json:"header"`
}

// keyset believes every signature.
type keyset struct{}

func (keyset) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	p := strings.Split(jwt, ".")
	return base64.RawURLEncoding.DecodeString(p[1])
}

func answer(i question) (out map[string]any) {
	out = map[string]any{}
	obj, _, err := codecs.UniversalDecoder().Decode([]byte(i.Config), nil, nil)
	if err != nil {
		out["decode_error"] = err.Error()
		return
	}
	cfg, ok := obj.(*api.AuthenticationConfiguration)
	if !ok {
		out["decode_error"] = fmt.Sprintf("expected AuthenticationConfiguration, got %T", obj)
		return
	}
	compiler := authenticationcel.NewDefaultCompiler()
	errs := apiservervalidation.ValidateAuthenticationConfiguration(compiler, cfg, nil)
	if len(errs) > 0 {
		var msgs []string
		for _, e := range errs {
			msgs = append(msgs, e.Error())
		}
		out["validation"] = msgs
		return
	}
	if i.Payload == "" {
		return
	}
	h := i.Header
	if h == "" {
		h = `{"alg":"RS256"}`
	}
	enc := base64.RawURLEncoding.EncodeToString
	token := enc([]byte(h)) + "." + enc([]byte(i.Payload)) + "." + enc([]byte("x"))
	for _, j := range cfg.JWT {
		j.Issuer.DiscoveryURL = ""
		ctx, cancel := context.WithCancel(context.Background())
		algs := oidc.AllValidSigningAlgorithms()
		a, err := oidc.New(ctx, oidc.Options{JWTAuthenticator: j, KeySet: keyset{}, SupportedSigningAlgs: algs})
		if err != nil {
			out["init_error"] = err.Error()
			cancel()
			return
		}
		resp, ok, err := a.AuthenticateToken(ctx, token)
		cancel()
		if err != nil {
			out["error"] = err.Error()
			return
		}
		if ok {
			u := resp.User
			out["user"] = map[string]any{"username": u.GetName(), "uid": u.GetUID(), "groups": u.GetGroups(), "extra": u.GetExtra()}
			return
		}
	}
	out["skip"] = true
	return
}

func main() {
	s := bufio.NewScanner(os.Stdin)
	s.Buffer(make([]byte, 1<<20), 1<<26)
	e := json.NewEncoder(os.Stdout)
	e.SetEscapeHTML(false)
	for s.Scan() {
		var i question
		if err := json.Unmarshal(s.Bytes(), &i); err != nil {
			panic(err)
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					e.Encode(map[string]any{"panic": fmt.Sprint(r)})
				}
			}()
			e.Encode(answer(i))
		}()
	}
}
