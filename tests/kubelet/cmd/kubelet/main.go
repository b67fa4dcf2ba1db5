// A node for tests. What kube-apiserver speaks with is Kubernetes' own: the kubelet's HTTP server
// (k8s.io/kubernetes/pkg/kubelet/server), its log reader (k8s.io/cri-client) and, behind them, the
// streaming server that container runtimes use (k8s.io/cri-streaming).
//
// Played are the containers: their processes are ordinary ones of this machine, each container
// having a folder of its own as working directory and nothing that isolates it. So whoever has a
// client certificate may run any command here; it listens on loopback only.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"go.opentelemetry.io/otel/trace/noop"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/cri-streaming/pkg/streaming"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/server"
)

const address = "127.0.0.1"

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "kubelet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	kubeconfig := flag.String("kubeconfig", "", "who this node is towards the API server")
	name := flag.String("node-name", "", "the name of the Node")
	port := flag.Int("port", 0, "where kube-apiserver finds it, on "+address)
	certFile := flag.String("tls-cert-file", "", "its serving certificate")
	keyFile := flag.String("tls-private-key-file", "", "the key of that")
	clientCA := flag.String("client-ca-file", "", "who has issued the certificates of its clients")
	root := flag.String("root-dir", "", "under it, a folder NAMESPACE/POD/CONTAINER for each container")
	flag.Parse()

	serving, err := servingTLS(*certFile, *keyFile, *clientCA)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}

	containers := newContainers(folder)
	streams, err := startStreaming(containers)
	if err != nil {
		return err
	}
	pods := newPods(client, *name, containers)
	if err := pods.register(ctx, int32(*port)); err != nil {
		return err
	}
	if err := pods.follow(ctx); err != nil {
		return err
	}
	server.ListenAndServeKubeletServer(ctx, &host{pods: pods, streams: streams}, nil, nil, nil,
		&kubeletconfig.KubeletConfiguration{
			Address: address, Port: int32(*port), EnableDebuggingHandlers: true,
		}, serving, nil, noop.NewTracerProvider())
	return nil
}

// servingTLS has every client show a certificate; the kubelet's own authorizer is left out.
func servingTLS(certFile, keyFile, clientCA string) (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(clientCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + clientCA)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}

// startStreaming serves the containers' streams, for the kubelet alone, as containerd does.
func startStreaming(runtime streaming.Runtime) (streaming.Server, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	config := streaming.DefaultConfig
	config.Addr = listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	streams, err := streaming.NewServer(config, runtime)
	if err != nil {
		return nil, err
	}
	go func() {
		fmt.Fprintln(os.Stderr, "kubelet: streaming:", streams.Start(true))
		os.Exit(1)
	}()
	return streams, nil
}
