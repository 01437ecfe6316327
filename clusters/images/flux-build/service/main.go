// kustomize-service builds kustomizations one after the other in one process, as kustomize-controller builds them.
//
// Kustomize parses the Kubernetes schema at the first patch of a process, which costs more than the build itself, so a process that
// stays is many times faster than one a build. It reads a request a line and writes an answer a line, both JSON:
//
//	{"root": "/copy", "folder": "/copy/apps", "own_schema": false}
//	{"objects": [{...}], "error": ""}
//
// "own_schema" says that a kustomization of this build brings a schema: what it added is forgotten afterwards.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	securefs "github.com/fluxcd/pkg/kustomize/filesys"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

type request struct {
	Root      string `json:"root"`
	Folder    string `json:"folder"`
	OwnSchema bool   `json:"own_schema"`
}

type answer struct {
	Objects []map[string]any `json:"objects"`
	Error   string           `json:"error"`
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	requests, answers := json.NewDecoder(in), bufio.NewWriter(out)
	for {
		var asked request
		if err := requests.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		text, err := answered(asked)
		if err != nil {
			return err
		}
		if _, err := answers.Write(append(text, '\n')); err != nil {
			return err
		}
		if err := answers.Flush(); err != nil {
			return err
		}
	}
}

// answered is the line that a request gets; what JSON can't hold (an infinite number) is the build's error.
func answered(asked request) ([]byte, error) {
	objects, err := build(asked)
	if err == nil {
		text, wrong := json.Marshal(answer{Objects: objects})
		if wrong == nil {
			return text, nil
		}
		err = wrong
	}
	return json.Marshal(answer{Error: err.Error()})
}

// build is kustomize-controller's build without its reset of the schema before each.
func build(asked request) (objects []map[string]any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("recovered from kustomize build panic: %v", r)
			openapi.ResetOpenAPI()
		}
	}()
	if asked.OwnSchema {
		defer openapi.ResetOpenAPI()
		openapi.ResetOpenAPI()
		openapi.Schema() // what a build brings is added to the built-in schema
	}
	files, err := securefs.MakeFsOnDiskSecure(asked.Root)
	if err != nil {
		return nil, err
	}
	options := &krusty.Options{
		LoadRestrictions: types.LoadRestrictionsNone,
		PluginConfig:     types.DisabledPluginConfig(),
		Reorder:          krusty.ReorderOptionUnspecified, // the order of `kustomize build`: who calls which must not see a difference
	}
	built, err := krusty.MakeKustomizer(options).Run(files, asked.Folder)
	if err != nil {
		return nil, err
	}
	for _, resource := range built.Resources() {
		object, err := resource.Map()
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}
