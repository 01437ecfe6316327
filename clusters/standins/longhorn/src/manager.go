package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// The manager: one on each node serves metrics; the one that holds the lease provisions, attaches, mends and reports (in Longhorn the
// work of the managers and of the CSI sidecars).

const (
	finalizer   = "external-attacher/driver-longhorn-io"
	onNode      = "stand-in.holdfast/blocks-on" // an annotation of a claim: the node that keeps the blocks
	provisioner = "volume.kubernetes.io/storage-provisioner"
)

func resource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "longhorn.io", Version: "v1beta2", Resource: name}
}

type manager struct {
	kube     *kubernetes.Clientset
	volumes  dynamic.ResourceInterface
	settings dynamic.ResourceInterface

	claims      corelisters.PersistentVolumeClaimLister
	persistent  corelisters.PersistentVolumeLister
	pods        corelisters.PodLister
	nodes       corelisters.NodeLister
	classes     storagelisters.StorageClassLister
	attachments storagelisters.VolumeAttachmentLister

	http    *http.Client
	wake    chan struct{}
	setting map[string]string
	told    map[string]string // by claim: the last event, so that it isn't repeated at every look

	// Of one look:
	agents map[string]*agentState // by node; nil where it doesn't answer
	ips    map[string]string      // of the instance managers, by node
	known  map[string]*unstructured.Unstructured
}

func runManager(ctx context.Context) error {
	kube, objects, err := clients()
	if err != nil {
		return err
	}
	m := &manager{kube: kube, http: &http.Client{Timeout: 15 * time.Second}, wake: make(chan struct{}, 1), told: map[string]string{}}
	m.volumes = objects.Resource(resource("volumes")).Namespace(namespace)
	m.settings = objects.Resource(resource("settings")).Namespace(namespace)
	if err := m.applySettings(ctx); err != nil {
		return err
	}
	go func() { _ = serve(ctx, ":9500", http.HandlerFunc(m.metrics)) }()

	factory := informers.NewSharedInformerFactory(kube, 0)
	coreV1, storageV1 := factory.Core().V1(), factory.Storage().V1()
	m.claims, m.persistent = coreV1.PersistentVolumeClaims().Lister(), coreV1.PersistentVolumes().Lister()
	m.pods, m.nodes = coreV1.Pods().Lister(), coreV1.Nodes().Lister()
	m.classes, m.attachments = storageV1.StorageClasses().Lister(), storageV1.VolumeAttachments().Lister()
	nudge := func(any) {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: nudge, UpdateFunc: func(_, o any) { nudge(o) }, DeleteFunc: nudge}
	for _, informer := range []cache.SharedIndexInformer{coreV1.PersistentVolumeClaims().Informer(), storageV1.VolumeAttachments().Informer()} {
		_, _ = informer.AddEventHandler(handler)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	lock := &resourcelock.LeaseLock{LeaseMeta: meta.ObjectMeta{Name: "longhorn-manager", Namespace: namespace}, Client: kube.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: os.Getenv("POD_NAME")}}
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock: lock, ReleaseOnCancel: true, LeaseDuration: 6 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: time.Second,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: m.lead, OnStoppedLeading: func() { say("no longer the leader"); os.Exit(0) }},
	})
	return nil
}

// applySettings writes the chart's default settings as objects, where nobody set them yet.
func (m *manager) applySettings(ctx context.Context) error {
	m.setting = map[string]string{}
	var values map[string]any
	if err := json.Unmarshal([]byte(os.Getenv("DEFAULT_SETTINGS")), &values); err != nil {
		return fmt.Errorf("the default settings: %w", err)
	}
	for key, value := range values {
		m.setting[kebab(key)] = fmt.Sprint(value)
	}
	if m.setting["deleting-confirmation-flag"] == "" {
		m.setting["deleting-confirmation-flag"] = "false"
	}
	for name, value := range m.setting {
		setting := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "longhorn.io/v1beta2", "kind": "Setting",
			"metadata": map[string]any{"name": name}, "value": value}}
		if _, err := m.settings.Create(ctx, setting, meta.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

func kebab(camel string) string {
	var out strings.Builder
	for _, r := range camel {
		if r >= 'A' && r <= 'Z' {
			out.WriteByte('-')
			r += 'a' - 'A'
		}
		out.WriteRune(r)
	}
	return out.String()
}

func (m *manager) lead(ctx context.Context) {
	say("leader", "node", node)
	for ctx.Err() == nil {
		if err := m.look(ctx); err != nil && ctx.Err() == nil {
			say("look failed", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-m.wake:
			time.Sleep(50 * time.Millisecond)
		case <-time.After(time.Second):
		}
	}
}

// look compares what is with what should be, and does the next step of each thing. What fails is tried again at the next look.
func (m *manager) look(ctx context.Context) error {
	if err := m.see(ctx); err != nil {
		return err
	}
	var failed []error
	for _, step := range []func(context.Context) error{m.instanceManagers, m.provision, m.detach, m.attach, m.reclaim, m.leaveLostNodes} {
		failed = append(failed, step(ctx))
	}
	return errors.Join(failed...)
}

func (m *manager) see(ctx context.Context) error {
	list, err := m.volumes.List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	m.known = map[string]*unstructured.Unstructured{}
	for i := range list.Items {
		m.known[list.Items[i].GetName()] = &list.Items[i]
	}
	nodes, _ := m.nodes.List(labels.Everything())
	m.ips, m.agents = map[string]string{}, map[string]*agentState{}
	for _, n := range nodes {
		pod, err := m.pods.Pods(namespace).Get(instanceManager(n.Name))
		if err == nil && pod.Status.PodIP != "" && pod.DeletionTimestamp == nil && ready(n) {
			m.ips[n.Name] = pod.Status.PodIP
		}
	}
	var group sync.WaitGroup
	var mutex sync.Mutex
	for name := range m.ips {
		group.Go(func() {
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			state, err := m.call(short, name, "GET", "")
			if err == nil {
				mutex.Lock()
				m.agents[name] = state
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	return nil
}

func (m *manager) call(ctx context.Context, on, method, path string) (*agentState, error) {
	request, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://%s/%s", net.JoinHostPort(m.ips[on], strconv.Itoa(agentPort)), path), nil)
	if err != nil {
		return nil, err
	}
	response, err := m.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		words, _ := io.ReadAll(io.LimitReader(response.Body, 500))
		return nil, fmt.Errorf("the instance manager of %s: %s", on, strings.TrimSpace(string(words)))
	}
	state := &agentState{}
	if err := json.NewDecoder(response.Body).Decode(state); err != nil {
		return nil, err
	}
	if method != "GET" {
		m.agents[on] = state
	}
	return state, nil
}

func ready(n *core.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == core.NodeReady {
			return c.Status == core.ConditionTrue
		}
	}
	return false
}

func instanceManager(on string) string { return "instance-manager-" + on }

// instanceManagers sees to it that one runs on every node. They belong to no workload, as in Longhorn, so that they outlive the managers.
func (m *manager) instanceManagers(ctx context.Context) error {
	nodes, err := m.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	var failed []error
	for _, n := range nodes {
		pod, err := m.pods.Pods(namespace).Get(instanceManager(n.Name))
		ended := err == nil && (pod.Status.Phase == core.PodFailed || pod.Status.Phase == core.PodSucceeded)
		if !ready(n) || err == nil && !ended {
			continue
		}
		if ended {
			failed = append(failed, m.kube.CoreV1().Pods(namespace).Delete(ctx, pod.Name, meta.DeleteOptions{}))
			continue
		}
		var fresh core.Pod
		if err := json.Unmarshal([]byte(strings.ReplaceAll(os.Getenv("INSTANCE_MANAGER"), "@NODE@", n.Name)), &fresh); err != nil {
			return err
		}
		if _, err := m.kube.CoreV1().Pods(namespace).Create(ctx, &fresh, meta.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// provision makes a volume and its PersistentVolume for every claim that waits for this driver.
func (m *manager) provision(ctx context.Context) error {
	claims, err := m.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	var failed []error
	for _, claim := range claims {
		if claim.Annotations[provisioner] != driver || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Spec.StorageClassName == nil {
			continue
		}
		class, err := m.classes.Get(*claim.Spec.StorageClassName)
		if err != nil {
			continue
		}
		if err := m.provisionOne(ctx, claim, class); err != nil {
			m.event(ctx, claim, "ProvisioningFailed", "failed to provision volume with StorageClass \""+class.Name+"\": "+err.Error())
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (m *manager) provisionOne(ctx context.Context, claim *core.PersistentVolumeClaim, class *storage.StorageClass) error {
	name := "pvc-" + string(claim.UID)
	if !slices.Equal(claim.Spec.AccessModes, []core.PersistentVolumeAccessMode{core.ReadWriteOnce}) {
		return fmt.Errorf("the stand-in has ReadWriteOnce volumes only, not %v", claim.Spec.AccessModes)
	}
	size := claim.Spec.Resources.Requests[core.ResourceStorage]
	if m.known[name] == nil {
		home, why := m.place(size.Value(), claim.Annotations[onNode])
		conditions := []any{map[string]any{"type": "Scheduled", "status": "True"}}
		if home == "" {
			return errors.New(why)
		}
		replicas, _ := strconv.Atoi(class.Parameters["numberOfReplicas"])
		volume := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "longhorn.io/v1beta2", "kind": "Volume",
			"metadata": map[string]any{"name": name, "annotations": map[string]any{onNode: home}, "labels": map[string]any{"longhornvolume": name}},
			"spec":     map[string]any{"size": strconv.FormatInt(size.Value(), 10), "numberOfReplicas": int64(replicas), "frontend": "blockdev", "nodeID": ""},
		}}
		made, err := m.volumes.Create(ctx, volume, meta.CreateOptions{})
		if err != nil {
			return err
		}
		m.known[name] = made
		kubernetes := map[string]any{"pvName": name, "pvcName": claim.Name, "namespace": claim.Namespace}
		m.status(ctx, name, map[string]any{"state": "creating", "robustness": "unknown", "ownerID": node, "conditions": conditions, "kubernetesStatus": kubernetes})
	}
	policy := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	mode := core.PersistentVolumeFilesystem
	_, err := m.kube.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": driver}},
		Spec: core.PersistentVolumeSpec{
			Capacity: core.ResourceList{core.ResourceStorage: size}, AccessModes: claim.Spec.AccessModes, VolumeMode: &mode,
			ClaimRef:         &core.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			StorageClassName: class.Name, PersistentVolumeReclaimPolicy: policy, MountOptions: class.MountOptions,
			PersistentVolumeSource: core.PersistentVolumeSource{CSI: &core.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: name, FSType: "ext4",
				VolumeAttributes: class.Parameters}},
		}}, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		m.status(ctx, name, map[string]any{"state": "detached"})
		say("provisioned", "volume", name, "claim", claim.Namespace+"/"+claim.Name)
	}
	return err
}

// place chooses the node that keeps the blocks: the one that is asked for, or the first by name that has room. Sizes are promised once
// (an over-provisioning of 100 %), as Longhorn does by default.
func (m *manager) place(size int64, asked string) (string, string) {
	promised := map[string]int64{}
	for _, v := range m.known {
		bytes, _ := strconv.ParseInt(text(v, "spec", "size"), 10, 64)
		promised[v.GetAnnotations()[onNode]] += bytes
	}
	why := "no instance manager answers"
	for _, name := range slices.Sorted(maps.Keys(m.agents)) {
		if asked != "" && name != asked {
			continue
		}
		if state := m.agents[name]; promised[name]+size <= state.Total {
			return name, ""
		}
		why = fmt.Sprintf("insufficient storage: %d bytes asked for, the disk of %s has %d, and %d are promised", size, name, m.agents[name].Total, promised[name])
	}
	return "", why
}

func (m *manager) volumeOf(va *storage.VolumeAttachment) string {
	if va.Spec.Source.PersistentVolumeName == nil {
		return ""
	}
	pv, err := m.persistent.Get(*va.Spec.Source.PersistentVolumeName)
	if err != nil || pv.Spec.CSI == nil {
		return ""
	}
	return pv.Spec.CSI.VolumeHandle
}

func (m *manager) own(ctx context.Context, do func(*storage.VolumeAttachment, string) error) error {
	all, err := m.attachments.List(labels.Everything())
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b *storage.VolumeAttachment) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var failed []error
	for _, va := range all {
		if va.Spec.Attacher == driver {
			failed = append(failed, do(va.DeepCopy(), m.volumeOf(va)))
		}
	}
	return errors.Join(failed...)
}

// detach ends the engines of attachments that are deleted, and those that no attachment asks for. A lost node's are taken for ended.
func (m *manager) detach(ctx context.Context) error {
	wanted := map[string]bool{}
	err := m.own(ctx, func(va *storage.VolumeAttachment, volume string) error {
		if va.DeletionTimestamp == nil {
			wanted[va.Spec.NodeName+"/"+volume] = true
			return nil
		}
		if !slices.Contains(va.Finalizers, finalizer) {
			return nil
		}
		on := va.Spec.NodeName
		n, err := m.nodes.Get(on)
		state := m.agents[on]
		if err == nil && ready(n) && state == nil {
			return fmt.Errorf("detaching %s: the instance manager of %s doesn't answer", volume, on)
		}
		if state != nil {
			if _, there := state.Engines[volume]; there {
				if _, err := m.call(ctx, on, "DELETE", "engine/"+volume); err != nil {
					return err
				}
			}
		}
		if v := m.known[volume]; v != nil && text(v, "status", "currentNodeID") == on {
			m.status(ctx, volume, map[string]any{"state": "detached", "robustness": "unknown", "currentNodeID": ""})
		}
		say("detached", "volume", volume, "node", on)
		va.Finalizers = slices.DeleteFunc(va.Finalizers, func(f string) bool { return f == finalizer })
		_, err = m.kube.StorageV1().VolumeAttachments().Update(ctx, va, meta.UpdateOptions{})
		return err
	})
	for on, state := range m.agents {
		for volume := range state.Engines {
			if !wanted[on+"/"+volume] {
				say("an engine that nobody asked for", "volume", volume, "node", on)
				_, failed := m.call(ctx, on, "DELETE", "engine/"+volume)
				err = errors.Join(err, failed)
			}
		}
	}
	return err
}

// attach sees to it that each attachment's volume has a live engine on its node, and one engine only.
func (m *manager) attach(ctx context.Context) error {
	taken := map[string]string{}
	return m.own(ctx, func(va *storage.VolumeAttachment, volume string) error {
		v, on := m.known[volume], va.Spec.NodeName
		if va.DeletionTimestamp != nil {
			taken[volume] = on // until it is detached there
			return nil
		}
		if v == nil {
			return m.attached(ctx, va, fmt.Errorf("there is no volume %s", volume))
		}
		if other := taken[volume]; other != "" && other != on {
			return m.attached(ctx, va, fmt.Errorf("the volume %s is attached to %s", volume, other))
		}
		taken[volume] = on
		return m.attached(ctx, va, m.connect(ctx, v, on))
	})
}

func (m *manager) connect(ctx context.Context, v *unstructured.Unstructured, on string) error {
	name, home := v.GetName(), v.GetAnnotations()[onNode]
	was := text(v, "status", "state") == "attached" && text(v, "status", "currentNodeID") == on
	if m.agents[on] == nil || m.agents[home] == nil {
		silent := home
		if m.agents[on] == nil {
			silent = on
		}
		if was {
			m.fault(ctx, name, "the instance manager of "+silent+" doesn't answer")
		}
		return fmt.Errorf("the instance manager of %s doesn't answer", silent)
	}
	replica, e := m.agents[home].Replicas[name], m.agents[on].Engines[name]
	address := net.JoinHostPort(m.ips[home], strconv.Itoa(replica.Port))
	if e.Alive && replica.Alive && e.Replica == address {
		if !was || text(v, "status", "robustness") != "healthy" {
			m.status(ctx, name, map[string]any{"state": "attached", "robustness": "healthy", "currentNodeID": on, "ownerID": on})
			say("attached", "volume", name, "node", on)
		}
		return m.restartUsers(ctx, v, on)
	}
	if was {
		m.fault(ctx, name, fmt.Sprintf("engine alive: %t, replica alive: %t", e.Alive, replica.Alive))
	}
	if m.agents[on].Engines[name] != (engineState{}) {
		if _, err := m.call(ctx, on, "DELETE", "engine/"+name); err != nil {
			return err
		}
	}
	attachedBefore, _, _ := unstructured.NestedBool(v.Object, "status", "attachedBefore")
	if was || text(v, "status", "robustness") == "faulted" {
		// Written down first: whoever leads when the volume is back restarts the pods that were there before.
		m.status(ctx, name, map[string]any{"restartPodsOlderThan": time.Now().UTC().Format(time.RFC3339Nano)})
	}
	state, err := m.call(ctx, home, "PUT", fmt.Sprintf("replica/%s?size=%s&new=%t", name, text(v, "spec", "size"), !attachedBefore))
	if err != nil {
		return err
	}
	address = net.JoinHostPort(m.ips[home], strconv.Itoa(state.Replicas[name].Port))
	if _, err := m.call(ctx, on, "PUT", "engine/"+name+"?replica="+address); err != nil {
		return err
	}
	m.status(ctx, name, map[string]any{"state": "attached", "robustness": "healthy", "currentNodeID": on, "ownerID": on, "attachedBefore": true})
	say("attached", "volume", name, "node", on)
	return m.restartUsers(ctx, m.known[name], on)
}

func (m *manager) fault(ctx context.Context, volume, why string) {
	if text(m.known[volume], "status", "robustness") != "faulted" {
		say("faulted", "volume", volume, "why", why)
		m.status(ctx, volume, map[string]any{"robustness": "faulted"})
	}
}

// attached writes how the attaching went.
func (m *manager) attached(ctx context.Context, va *storage.VolumeAttachment, failed error) error {
	api := m.kube.StorageV1().VolumeAttachments()
	if !slices.Contains(va.Finalizers, finalizer) {
		va.Finalizers = append(va.Finalizers, finalizer)
		updated, err := api.Update(ctx, va, meta.UpdateOptions{})
		if err != nil {
			return err
		}
		va = updated
	}
	if failed == nil && va.Status.Attached || failed != nil && va.Status.AttachError != nil && va.Status.AttachError.Message == failed.Error() {
		return failed
	}
	if failed == nil {
		va.Status = storage.VolumeAttachmentStatus{Attached: true}
	} else if !va.Status.Attached { // what was attached is attached still, for Kubernetes: its pods are restarted, and it is mounted again
		va.Status.AttachError = &storage.VolumeError{Time: meta.Now(), Message: failed.Error()}
	}
	_, err := api.UpdateStatus(ctx, va, meta.UpdateOptions{})
	return errors.Join(failed, err)
}

// restartUsers deletes the pods that use a volume which was detached unexpectedly: only a new mount works. (Longhorn's setting
// auto-delete-pod-when-volume-detached-unexpectedly, on by default.)
func (m *manager) restartUsers(ctx context.Context, v *unstructured.Unstructured, on string) error {
	before, err := time.Parse(time.RFC3339Nano, text(v, "status", "restartPodsOlderThan"))
	if err != nil {
		return nil // nothing is pending
	}
	var failed []error
	for _, pod := range m.users(v.GetName(), on) {
		if len(pod.OwnerReferences) > 0 && pod.DeletionTimestamp == nil && !pod.CreationTimestamp.After(before) {
			say("restarting a pod whose volume was lost", "pod", pod.Namespace+"/"+pod.Name)
			if err := m.kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, meta.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				failed = append(failed, err)
			}
		}
	}
	if len(failed) == 0 {
		m.status(ctx, v.GetName(), map[string]any{"restartPodsOlderThan": ""})
	}
	return errors.Join(failed...)
}

func (m *manager) users(volume, on string) []*core.Pod {
	var found []*core.Pod
	pv, err := m.persistent.Get(volume)
	if err != nil || pv.Spec.ClaimRef == nil {
		return nil
	}
	pods, _ := m.pods.Pods(pv.Spec.ClaimRef.Namespace).List(labels.Everything())
	for _, pod := range pods {
		uses := slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == pv.Spec.ClaimRef.Name
		})
		if uses && pod.Spec.NodeName == on {
			found = append(found, pod)
		}
	}
	return found
}

// reclaim deletes volumes whose claim is gone, where the class says so.
func (m *manager) reclaim(ctx context.Context) error {
	all, err := m.persistent.List(labels.Everything())
	if err != nil {
		return err
	}
	var failed []error
	for _, pv := range all {
		if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != driver || pv.Status.Phase != core.VolumeReleased ||
			pv.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
			continue
		}
		name := pv.Spec.CSI.VolumeHandle
		if v := m.known[name]; v != nil {
			home := v.GetAnnotations()[onNode]
			if m.agents[home] == nil || text(v, "status", "state") == "attached" {
				continue
			}
			if _, err := m.call(ctx, home, "DELETE", "replica/"+name); err != nil {
				failed = append(failed, err)
				continue
			}
			failed = append(failed, m.volumes.Delete(ctx, name, meta.DeleteOptions{}))
		}
		failed = append(failed, m.kube.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, meta.DeleteOptions{}))
	}
	return errors.Join(failed...)
}

// leaveLostNodes does what the setting node-down-pod-deletion-policy says: a pod that can't end on a lost node is deleted by force, and its
// attachments with it. Without it Kubernetes waits for the node, and lets go of the volume 6 minutes after the pod is deleted by hand.
func (m *manager) leaveLostNodes(ctx context.Context) error {
	policy, kinds := m.setting["node-down-pod-deletion-policy"], map[string]bool{}
	kinds["StatefulSet"] = policy == "delete-statefulset-pod" || policy == "delete-both-statefulset-and-deployment-pod"
	kinds["ReplicaSet"] = policy == "delete-deployment-pod" || policy == "delete-both-statefulset-and-deployment-pod"
	return m.own(ctx, func(va *storage.VolumeAttachment, volume string) error {
		n, err := m.nodes.Get(va.Spec.NodeName)
		if err != nil || ready(n) {
			return nil
		}
		var failed []error
		for _, pod := range m.users(volume, va.Spec.NodeName) {
			owner := meta.GetControllerOf(pod)
			if owner == nil || !kinds[owner.Kind] || pod.DeletionTimestamp == nil || time.Now().Before(pod.DeletionTimestamp.Time) {
				continue
			}
			say("leaving a lost node", "pod", pod.Namespace+"/"+pod.Name, "node", n.Name)
			if err := m.kube.StorageV1().VolumeAttachments().Delete(ctx, va.Name, meta.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				failed = append(failed, err)
				continue
			}
			now := int64(0)
			failed = append(failed, m.kube.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, meta.DeleteOptions{GracePeriodSeconds: &now}))
		}
		return errors.Join(failed...)
	})
}

func (m *manager) status(ctx context.Context, volume string, status map[string]any) {
	patch, _ := json.Marshal(map[string]any{"status": status})
	v, err := m.volumes.Patch(ctx, volume, types.MergePatchType, patch, meta.PatchOptions{}, "status")
	if err != nil {
		say("status not written", "volume", volume, "error", err)
		return
	}
	m.known[volume] = v
}

func (m *manager) event(ctx context.Context, claim *core.PersistentVolumeClaim, reason, message string) {
	key := string(claim.UID)
	if m.told[key] == message {
		return
	}
	m.told[key] = message
	say(message, "claim", claim.Namespace+"/"+claim.Name)
	now := meta.Now()
	_, _ = m.kube.CoreV1().Events(claim.Namespace).Create(ctx, &core.Event{
		ObjectMeta: meta.ObjectMeta{GenerateName: claim.Name + ".", Namespace: claim.Namespace}, Reason: reason, Message: message, Type: core.EventTypeWarning,
		InvolvedObject: core.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		Source:         core.EventSource{Component: driver}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, meta.CreateOptions{})
}

func text(v *unstructured.Unstructured, path ...string) string {
	if v == nil {
		return ""
	}
	found, _, _ := unstructured.NestedString(v.Object, path...)
	return found
}

// metrics serves what Longhorn's managers do, of the volumes that this node owns and of this node's disk.
func (m *manager) metrics(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/metrics" {
		fmt.Fprintln(w, "ok")
		return
	}
	list, err := m.volumes.List(r.Context(), meta.ListOptions{ResourceVersion: "0"})
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	states := map[string]int{"creating": 1, "attached": 2, "detached": 3, "attaching": 4, "detaching": 5, "deleting": 6}
	robustness := map[string]int{"unknown": 0, "healthy": 1, "degraded": 2, "faulted": 3}
	for i := range list.Items {
		v := &list.Items[i]
		if text(v, "status", "ownerID") != node {
			continue
		}
		labels := fmt.Sprintf("node=%q,volume=%q,pvc=%q,pvc_namespace=%q", node, v.GetName(), text(v, "status", "kubernetesStatus", "pvcName"),
			text(v, "status", "kubernetesStatus", "namespace"))
		fmt.Fprintf(w, "longhorn_volume_state{%s} %d\n", labels, states[text(v, "status", "state")])
		fmt.Fprintf(w, "longhorn_volume_robustness{%s} %d\n", labels, robustness[text(v, "status", "robustness")])
		fmt.Fprintf(w, "longhorn_volume_capacity_bytes{%s} %s\n", labels, text(v, "spec", "size"))
	}
	fmt.Fprintf(w, "longhorn_manager_stand_in{node=%q} 1\n", node)
	if pod, err := m.podOf(node); err == nil {
		m.diskMetrics(w, r, pod)
	}
}

func (m *manager) podOf(on string) (*core.Pod, error) {
	if m.pods == nil {
		return nil, errors.New("not ready yet")
	}
	return m.pods.Pods(namespace).Get(instanceManager(on))
}

func (m *manager) diskMetrics(w http.ResponseWriter, r *http.Request, pod *core.Pod) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	own := &manager{http: m.http, ips: map[string]string{node: pod.Status.PodIP}, agents: map[string]*agentState{}}
	status := 0
	if state, err := own.call(ctx, node, "GET", ""); err == nil {
		status = 1
		fmt.Fprintf(w, "longhorn_disk_capacity_bytes{node=%q,disk=\"default\"} %d\n", node, state.Total)
		fmt.Fprintf(w, "longhorn_disk_usage_bytes{node=%q,disk=\"default\"} %d\n", node, state.Total-state.Free)
		for name, one := range state.Replicas {
			fmt.Fprintf(w, "longhorn_volume_actual_size_bytes{node=%q,volume=%q} %d\n", node, name, one.Bytes)
		}
	}
	fmt.Fprintf(w, "longhorn_node_status{node=%q,condition=\"ready\"} %d\n", node, status)
}
