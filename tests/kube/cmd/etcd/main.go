// A single-member etcd for tests, made of etcd's own embed package. It takes the flags that
// the tests and envtest (sigs.k8s.io/controller-runtime) pass; any other is an error.
package main

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.etcd.io/etcd/api/v3/version"
	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	cfg, err := parse(os.Args[1:])
	if err == nil {
		err = run(cfg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*embed.Config, error) {
	cfg := embed.NewConfig()
	flags := flag.NewFlagSet("etcd", flag.ExitOnError)
	flags.StringVar(&cfg.Name, "name", cfg.Name, "name of this member")
	flags.StringVar(&cfg.Dir, "data-dir", "default.etcd", "folder of the data")
	flags.StringVar(&cfg.LogLevel, "log-level", "warn", "debug, info, warn, error, panic or fatal")
	flags.BoolVar(&cfg.UnsafeNoFsync, "unsafe-no-fsync", false, "never wait for the disk")
	urlsVar(flags, &cfg.ListenClientUrls, "listen-client-urls", "where clients connect")
	urlsVar(flags, &cfg.AdvertiseClientUrls, "advertise-client-urls", "what clients are told")
	urlsVar(flags, &cfg.ListenPeerUrls, "listen-peer-urls", "where peers connect")
	urlsVar(flags, &cfg.AdvertisePeerUrls, "initial-advertise-peer-urls", "what peers are told")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *showVersion {
		fmt.Println("etcd Version:", version.Version)
		os.Exit(0)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	return cfg, nil
}

func urlsVar(flags *flag.FlagSet, target *[]url.URL, name, usage string) {
	flags.Func(name, usage+" (comma-separated URLs)", func(value string) error {
		var urls []url.URL
		for _, one := range strings.Split(value, ",") {
			parsed, err := url.Parse(one)
			if err != nil {
				return err
			}
			urls = append(urls, *parsed)
		}
		*target = urls
		return nil
	})
}

func run(cfg *embed.Config) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case err := <-server.Err():
		return err
	case <-server.Server.StopNotify():
		return fmt.Errorf("etcd stopped by itself")
	case <-signals:
		return nil
	}
}
