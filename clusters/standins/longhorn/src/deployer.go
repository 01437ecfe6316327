package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// runDeployer applies what Longhorn's driver deployer makes, outside of the chart's release: the CSIDriver and the CSI plugin.
func runDeployer(ctx context.Context) error {
	_, objects, err := clients()
	if err != nil {
		return err
	}
	manifest, err := os.ReadFile("/etc/longhorn/driver.yaml")
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
		for {
			object := &unstructured.Unstructured{}
			if err := documents.Decode(&object.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return err
			}
			kind := object.GroupVersionKind()
			api := objects.Resource(schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: map[string]string{
				"CSIDriver": "csidrivers", "DaemonSet": "daemonsets"}[kind.Kind]})
			if object.GetNamespace() == "" {
				_, err = api.Apply(ctx, object.GetName(), object, meta.ApplyOptions{FieldManager: "longhorn-driver-deployer", Force: true})
			} else {
				_, err = api.Namespace(object.GetNamespace()).Apply(ctx, object.GetName(), object, meta.ApplyOptions{FieldManager: "longhorn-driver-deployer", Force: true})
			}
			if err != nil {
				say("not applied", "object", object.GetName(), "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
	return nil
}

// runUninstall is the release's pre-delete hook: it refuses unless the setting says that the data may go.
func runUninstall(ctx context.Context) error {
	_, objects, err := clients()
	if err != nil {
		return err
	}
	setting, err := objects.Resource(resource("settings")).Namespace(namespace).Get(ctx, "deleting-confirmation-flag", meta.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil && setting.Object["value"] == "true" {
		return nil
	}
	return fmt.Errorf("cannot uninstall Longhorn because deleting-confirmation-flag is set to `false`: it would delete every volume")
}
