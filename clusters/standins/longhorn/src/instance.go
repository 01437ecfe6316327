package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The instance manager: one on each node. A replica is an nbdkit process that serves a file of this node's disk; an engine is an nbdfuse
// process that shows a replica as a file, with a loop device on it. Killing either is a real I/O error in the pod that has the volume mounted.

const (
	disk           = "/var/lib/longhorn"
	hostDev        = "/host/dev"
	engines        = "/run/engines"
	replicaTimeout = 8 * time.Second // as Longhorn's engine-replica-timeout
)

type replicaState struct {
	Port  int   `json:"port"`
	Alive bool  `json:"alive"`
	Size  int64 `json:"size"`
	Bytes int64 `json:"bytes"` // of the disk
}

type engineState struct {
	Replica string `json:"replica"` // HOST:PORT that it was started with
	Device  string `json:"device"`
	Alive   bool   `json:"alive"`
}

type agentState struct {
	Total    int64                   `json:"total"`
	Free     int64                   `json:"free"`
	Replicas map[string]replicaState `json:"replicas"`
	Engines  map[string]engineState  `json:"engines"`
}

type process struct {
	command *exec.Cmd
	done    chan struct{}
	faulted atomic.Bool
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return !p.faulted.Load()
	}
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.done
}

type engine struct {
	*process
	replica string
	loop    *os.File // held open: the loop device is freed once nobody has it open or mounted
	number  int
}

type replica struct {
	*process
	port int
}

type agent struct {
	mutex    sync.Mutex
	replicas map[string]*replica
	engines  map[string]*engine
	address  string
	started  int // replicas so far
}

func runInstance(ctx context.Context) error {
	a := &agent{replicas: map[string]*replica{}, engines: map[string]*engine{}, address: os.Getenv("POD_IP")}
	// Devices of engines that ended with an earlier container: their numbers are the machine's, and may be another volume's by now.
	if err := os.RemoveAll(hostDev + "/longhorn"); err != nil {
		return err
	}
	for _, folder := range []string{disk + "/replicas", hostDev + "/longhorn", engines} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", a.show)
	mux.HandleFunc("PUT /replica/{name}", a.call(a.startReplica))
	mux.HandleFunc("DELETE /replica/{name}", a.call(a.deleteReplica))
	mux.HandleFunc("PUT /engine/{name}", a.call(a.startEngine))
	mux.HandleFunc("DELETE /engine/{name}", a.call(a.stopEngine))
	say("instance manager started", "node", node)
	go a.watchReplicas(ctx)
	return serve(ctx, fmt.Sprintf(":%d", agentPort), mux)
}

func (a *agent) call(do func(name string, query url.Values) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mutex.Lock()
		err := do(filepath.Base(r.PathValue("name")), r.URL.Query())
		a.mutex.Unlock()
		if err != nil {
			say("failed", "call", r.Method+" "+r.URL.Path, "error", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		say("done", "call", r.Method+" "+r.URL.Path)
		a.show(w, r)
	}
}

func (a *agent) show(w http.ResponseWriter, _ *http.Request) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	var fs unix.Statfs_t
	_ = unix.Statfs(disk, &fs)
	state := agentState{int64(fs.Blocks) * fs.Bsize, int64(fs.Bavail) * fs.Bsize, map[string]replicaState{}, map[string]engineState{}}
	files, _ := filepath.Glob(image("*"))
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		var info unix.Stat_t
		_ = unix.Stat(file, &info)
		one := replicaState{Size: info.Size, Bytes: info.Blocks * 512}
		if r := a.replicas[name]; r != nil {
			one.Port, one.Alive = r.port, r.alive()
		}
		state.Replicas[name] = one
	}
	for name, e := range a.engines {
		state.Engines[name] = engineState{e.replica, fmt.Sprintf("/dev/loop%d", e.number), e.alive()}
	}
	_ = json.NewEncoder(w).Encode(state)
}

// image is the file with a volume's blocks.
func image(volume string) string { return filepath.Join(disk, "replicas", volume, "volume.img") }

// start runs a program that lives until it is killed. What it says on stderr means that it lost its other side: nbdfuse answers every
// request with an error from then on, so it is as good as dead, and is ended.
func (a *agent) start(name string, arguments ...string) (*process, error) {
	p := &process{command: exec.Command(name, arguments...), done: make(chan struct{})}
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	words, err := p.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(words)
		for lines.Scan() {
			say(lines.Text(), "program", name, "pid", p.command.Process.Pid)
			if strings.Contains(lines.Text(), "not connected") || strings.Contains(lines.Text(), "Connection reset") {
				p.faulted.Store(true)
				_ = p.command.Process.Kill()
			}
		}
		_ = p.command.Wait()
		say("ended", "program", name, "pid", p.command.Process.Pid, "state", p.command.ProcessState)
		close(p.done)
	}()
	return p, nil
}

// startReplica serves a volume's blocks anew. A server that ran before is ended: an engine elsewhere that still used it loses it, so
// that two nodes never write to one volume.
func (a *agent) startReplica(name string, query url.Values) error {
	size, err := strconv.ParseInt(query.Get("size"), 10, 64)
	if err != nil {
		return err
	}
	if old := a.replicas[name]; old != nil {
		old.kill()
	}
	if err := makeImage(image(name), size, query.Get("new") == "true"); err != nil {
		return err
	}
	// A new port each time: an engine that still knows the old one must not reach the new server. Below the ephemeral ports, or looking
	// whether it listens may connect to itself.
	a.started++
	port := 10000 + a.started%20000
	p, err := a.start("nbdkit", "--foreground", "--exit-with-parent", "--ipaddr", a.address, "--port", strconv.Itoa(port), "file", image(name))
	if err != nil {
		return err
	}
	a.replicas[name] = &replica{p, port}
	return within(5*time.Second, func() error {
		connection, err := net.DialTimeout("tcp", net.JoinHostPort(a.address, strconv.Itoa(port)), time.Second)
		if err == nil {
			connection.Close()
		}
		return err
	})
}

// makeImage makes the blocks of a volume that was never attached. Where those of another one are gone, an empty image would hide the loss.
func makeImage(path string, size int64, fresh bool) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !fresh {
		return fmt.Errorf("the blocks at %s are gone", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer file.Close()
	return errors.Join(file.Truncate(size), file.Sync(), os.Rename(path+".part", path))
}

func (a *agent) deleteReplica(name string, _ url.Values) error {
	if old := a.replicas[name]; old != nil {
		old.kill()
		delete(a.replicas, name)
	}
	return os.RemoveAll(filepath.Dir(image(name)))
}

// startEngine shows the replica at HOST:PORT as the block device /dev/longhorn/NAME of this node.
func (a *agent) startEngine(name string, query url.Values) error {
	if old := a.engines[name]; old != nil {
		if err := a.stopEngine(name, nil); err != nil {
			return err
		}
	}
	folder, address := filepath.Join(engines, name), query.Get("replica")
	_ = unix.Unmount(folder, unix.MNT_DETACH)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	p, err := a.start("nbdfuse", filepath.Join(folder, "volume"), "nbd://"+address)
	if err != nil {
		return err
	}
	err = within(5*time.Second, func() error {
		_, err := os.Stat(filepath.Join(folder, "volume"))
		if err != nil && !p.alive() {
			return nil // attaching the loop device says so
		}
		return err
	})
	if err != nil {
		p.kill()
		return fmt.Errorf("the replica at %s can't be reached: %w", address, err)
	}
	loop, number, err := attachLoop(filepath.Join(folder, "volume"))
	if err != nil {
		p.kill()
		return err
	}
	device := filepath.Join(hostDev, "longhorn", name)
	_ = os.Remove(device)
	if err := unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(number)))); err != nil {
		loop.Close()
		p.kill()
		return err
	}
	a.engines[name] = &engine{p, address, loop, number}
	return nil
}

func (a *agent) stopEngine(name string, _ url.Values) error {
	e := a.engines[name]
	if e == nil {
		return nil
	}
	_ = os.Remove(filepath.Join(hostDev, "longhorn", name))
	if e.alive() { // with a limit: a replica whose node swallows packets must not hold up the other volumes
		flushed := make(chan struct{})
		go func() { _ = e.loop.Sync(); close(flushed) }()
		select {
		case <-flushed:
		case <-time.After(3 * time.Second):
		}
	}
	e.loop.Close()
	e.kill()
	_ = unix.Unmount(filepath.Join(engines, name), unix.MNT_DETACH)
	delete(a.engines, name)
	return nil
}

// attachLoop puts a loop device on a file. The device is freed by the kernel once nothing has it open: also when this process is killed.
func attachLoop(path string) (*os.File, int, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	control, err := os.OpenFile(hostDev+"/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	defer control.Close()
	for try := 0; ; try++ {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, 0, err
		}
		device := fmt.Sprintf("%s/loop%d", hostDev, number)
		_ = unix.Mknod(device, unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(number))))
		loop, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return nil, 0, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd()), Size: 4096, Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		copy(config.Info.File_name[:], path)
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop, number, nil
		}
		loop.Close()
		if try == 20 { // another node's instance manager may have taken it meanwhile: the devices are the machine's
			return nil, 0, fmt.Errorf("no loop device: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// watchReplicas ends an engine whose replica's node doesn't answer any more: the stall becomes an I/O error, as in Longhorn.
func (a *agent) watchReplicas(ctx context.Context) {
	seen := map[string]time.Time{}
	for ctx.Err() == nil {
		time.Sleep(time.Second)
		a.mutex.Lock()
		hosts := map[string][]*engine{}
		for _, e := range a.engines {
			host, _, _ := net.SplitHostPort(e.replica)
			hosts[host] = append(hosts[host], e)
		}
		a.mutex.Unlock()
		for host := range seen {
			if hosts[host] == nil {
				delete(seen, host)
			}
		}
		for host, using := range hosts {
			connection, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(agentPort)), time.Second)
			if err == nil {
				connection.Close()
			}
			if err == nil || seen[host].IsZero() {
				seen[host] = time.Now()
			} else if time.Since(seen[host]) > replicaTimeout {
				for _, e := range using {
					if e.alive() {
						say("the replica's node doesn't answer", "replica", e.replica)
						e.faulted.Store(true)
						_ = e.command.Process.Kill()
					}
				}
			}
		}
	}
}

// within tries again until it works or the time is over.
func within(limit time.Duration, try func() error) error {
	end := time.Now().Add(limit)
	for {
		err := try()
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}
