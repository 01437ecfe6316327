// Stand-in for Longhorn: the same names outside, one copy of the blocks inside. See README.md for what it is and isn't.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	driver    = "driver.longhorn.io"
	agentPort = 8500
)

// namespace is where this process runs, node on which node.
var namespace, node = os.Getenv("POD_NAMESPACE"), os.Getenv("NODE_NAME")

func main() {
	roles := map[string]func(context.Context) error{
		"manager": runManager, "instance": runInstance, "csi": runCSI, "deployer": runDeployer, "ui": runUI, "uninstall": runUninstall,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "one of: manager instance csi deployer ui uninstall")
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := roles[os.Args[1]](ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func say(message string, fields ...any) {
	line := map[string]any{"msg": message}
	for i := 0; i+1 < len(fields); i += 2 {
		line[fields[i].(string)] = fmt.Sprint(fields[i+1])
	}
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

func clients() (*kubernetes.Clientset, *dynamic.DynamicClient, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, nil, err
	}
	config.QPS, config.Burst = 50, 100
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	return kube, objects, err
}

// serve runs an HTTP server until ctx ends.
func serve(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler}
	go func() { <-ctx.Done(); _ = server.Close() }()
	return server.ListenAndServe()
}

func runUI(ctx context.Context) error {
	return serve(ctx, ":8000", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "holdfast's stand-in for Longhorn: it has no user interface; see kubectl get volumes.longhorn.io")
	}))
}
