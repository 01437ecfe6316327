// flux-build builds one Kustomization with the package that kustomize-controller itself uses: the oracle of holdfast's own build.
//
// Usage: flux-build ROOT FOLDER < kustomization.json. Writes the objects as YAML documents; an error goes to stderr, with exit 1.
// FOLDER is changed on the way, as kustomize-controller changes its copy of an artifact.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fluxcd/pkg/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	if err := run(os.Args[1], filepath.Join(os.Args[1], os.Args[2])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root, folder string) error {
	var object map[string]interface{}
	if err := json.NewDecoder(os.Stdin).Decode(&object); err != nil {
		return err
	}
	kustomization := unstructured.Unstructured{Object: object}
	if _, err := kustomize.NewGenerator(root, kustomization).WriteFile(folder); err != nil {
		return err
	}
	built, err := kustomize.SecureBuild(root, folder, false)
	if err != nil {
		return err
	}
	_, substitutes, _ := unstructured.NestedMap(object, "spec", "postBuild")
	for _, resource := range built.Resources() {
		if substitutes {
			// Without a cluster only inline variables count.
			replaced, err := kustomize.SubstituteVariables(context.Background(), nil, kustomization, resource, kustomize.SubstituteWithDryRun(true))
			if err != nil {
				return err
			}
			if replaced != nil {
				if _, err := built.Replace(replaced); err != nil {
					return err
				}
			}
		}
	}
	text, err := built.AsYaml()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(text)
	return err
}
