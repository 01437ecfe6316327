package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// The CSI plugin of a node: identity, the node service, and the registration with kubelet (which Longhorn leaves to a sidecar).

const (
	socket     = "/var/lib/kubelet/plugins/" + driver + "/csi.sock"
	registrar  = "/var/lib/kubelet/plugins_registry/" + driver + "-reg.sock"
	csiVersion = "1.9.0"
)

type plugin struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
}

func runCSI(ctx context.Context) error {
	failed := make(chan error, 2)
	own := grpc.NewServer()
	csi.RegisterIdentityServer(own, plugin{})
	csi.RegisterNodeServer(own, plugin{})
	kubelet := grpc.NewServer()
	registration.RegisterRegistrationServer(kubelet, registrant{})
	for path, server := range map[string]*grpc.Server{socket: own, registrar: kubelet} {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		_ = os.Remove(path)
		listener, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		go func() { failed <- server.Serve(listener) }()
	}
	say("CSI plugin started", "node", node)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		_ = os.Remove(registrar)
		return nil
	}
}

type registrant struct {
	registration.UnimplementedRegistrationServer
}

func (registrant) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: driver, Endpoint: socket, SupportedVersions: []string{csiVersion}}, nil
}

func (registrant) NotifyRegistrationStatus(_ context.Context, r *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	say("registration", "ok", r.PluginRegistered, "error", r.Error)
	return &registration.RegistrationStatusResponse{}, nil
}

func (plugin) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driver, VendorVersion: "stand-in"}, nil
}

func (plugin) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

func (plugin) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (plugin) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: node}, nil
}

func (plugin) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	response := &csi.NodeGetCapabilitiesResponse{}
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_GET_VOLUME_STATS} {
		response.Capabilities = append(response.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}}})
	}
	return response, nil
}

func (plugin) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if r.GetVolumeCapability().GetMount() == nil {
		return nil, status.Error(codes.InvalidArgument, "the stand-in has no raw block volumes")
	}
	return &csi.NodeStageVolumeResponse{}, stage(r.VolumeId, r.StagingTargetPath, r.VolumeCapability.GetMount().MountFlags)
}

// stage mounts the volume's device, with a file system made at the first time. A mount of a device that is gone is replaced: kubelet
// keeps it where a new pod with the same volume comes before the old one has left.
func stage(volume, target string, flags []string) error {
	device := filepath.Join(hostDev, "longhorn", volume)
	var of unix.Stat_t
	if err := unix.Stat(device, &of); err != nil {
		return status.Errorf(codes.Unavailable, "the volume %s has no device on %s", volume, node)
	}
	if mounted(target, of.Rdev) {
		return nil
	}
	if err := unmount(target); err != nil {
		return err
	}
	if err := makeFileSystem(volume, device, of.Rdev); err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o750); err != nil {
		return err
	}
	return run("mount", "-t", "ext4", "-o", strings.Join(append([]string{"rw", "errors=remount-ro"}, flags...), ","), device, target)
}

// makeFileSystem makes one where the device can be read and nothing is on it, and mends one that is there. It holds the device open, so
// that a device that takes its place meanwhile is not the one that is written to.
func makeFileSystem(volume, device string, number uint64) error {
	file, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return status.Errorf(codes.Unavailable, "the device of %s: %v", volume, err)
	}
	defer file.Close()
	var of unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &of); err != nil || of.Rdev != number {
		return status.Errorf(codes.Unavailable, "the device of %s was replaced meanwhile", volume)
	}
	if _, err := file.ReadAt(make([]byte, 1<<16), 0); err != nil { // blkid says the same of an error as of an empty device
		return status.Errorf(codes.Unavailable, "the device of %s can't be read: %v", volume, err)
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd())
	if out, err := exec.Command("blkid", "-p", "-o", "value", "-s", "TYPE", path).Output(); err == nil && strings.TrimSpace(string(out)) != "" {
		return run("e2fsck", "-p", path)
	}
	return run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", path)
}

func (plugin) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, unmount(r.StagingTargetPath)
}

func (plugin) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if err := stage(r.VolumeId, r.StagingTargetPath, nil); err != nil {
		return nil, err
	}
	if err := unmount(r.TargetPath); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.TargetPath, 0o750); err != nil {
		return nil, err
	}
	if err := unix.Mount(r.StagingTargetPath, r.TargetPath, "", unix.MS_BIND, ""); err != nil {
		return nil, err
	}
	if r.Readonly {
		return &csi.NodePublishVolumeResponse{}, unix.Mount("", r.TargetPath, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (plugin) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := unmount(r.TargetPath); err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, os.RemoveAll(r.TargetPath)
}

func (plugin) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(r.VolumePath, &fs); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: int64(fs.Blocks) * fs.Bsize, Available: int64(fs.Bavail) * fs.Bsize, Used: int64(fs.Blocks-fs.Bfree) * fs.Bsize},
		{Unit: csi.VolumeUsage_INODES, Total: int64(fs.Files), Available: int64(fs.Ffree), Used: int64(fs.Files - fs.Ffree)},
	}}, nil
}

// mounted says whether target is a writable mount of the device with this number: a file system that met an I/O error is read-only.
func mounted(target string, device uint64) bool {
	var of unix.Stat_t
	return unix.Stat(target, &of) == nil && of.Dev == device && unix.Access(target, unix.W_OK) == nil
}

// unmount takes every mount off target; what is still in use is let go of lazily.
func unmount(target string) error {
	for range 20 {
		switch err := unix.Unmount(target, 0); {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EBUSY):
			time.Sleep(50 * time.Millisecond)
		case err != nil:
			return fmt.Errorf("unmounting %s: %w", target, err)
		}
	}
	return unix.Unmount(target, unix.MNT_DETACH)
}

func run(name string, arguments ...string) error {
	out, err := exec.Command(name, arguments...).CombinedOutput()
	var exit *exec.ExitError
	if name == "e2fsck" && errors.As(err, &exit) && exit.ExitCode() < 4 { // 1, 2: errors were corrected
		return nil
	}
	if err != nil {
		return status.Errorf(codes.Internal, "%s: %v: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
