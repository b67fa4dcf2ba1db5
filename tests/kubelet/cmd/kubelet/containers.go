package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/creack/pty"
	v1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// containers is the container runtime: processes, by NAMESPACE/POD/CONTAINER.
type containers struct {
	root string
	mu   sync.Mutex
	main map[string]*mainProcess
}

// mainProcess is a container's own, with which attach speaks and of which the log is.
type mainProcess struct {
	stdin  io.Writer
	resize func(remotecommand.TerminalSize)
	stdout *broadcast
	stderr *broadcast
	ended  chan struct{}
}

func newContainers(root string) *containers {
	return &containers{root: root, main: map[string]*mainProcess{}}
}

func containerID(pod, container string) (string, error) {
	name, namespace, found := strings.Cut(pod, "_")
	if !found {
		return "", fmt.Errorf("malformed pod name %q", pod)
	}
	return strings.Join([]string{namespace, name, container}, "/"), nil
}

func (c *containers) folder(id string) string  { return filepath.Join(c.root, id) }
func (c *containers) logFile(id string) string { return filepath.Join(c.root, id+".log") }

func (c *containers) get(id string) *mainProcess {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.main[id]
}

func (c *containers) known(id string) bool { return c.get(id) != nil }

func (c *containers) alive(id string) bool {
	process := c.get(id)
	if process == nil {
		return false
	}
	select {
	case <-process.ended:
		return false
	default:
		return true
	}
}

// start runs the command of a pod's container until it ends; nobody starts it again.
func (c *containers) start(id string, spec v1.Container) error {
	if err := os.MkdirAll(c.folder(id), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(c.logFile(id), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	file := &logFile{file: log}
	process := &mainProcess{
		stdout: newBroadcast(&logStream{file: file, name: "stdout"}),
		stderr: newBroadcast(&logStream{file: file, name: "stderr"}),
		ended:  make(chan struct{}),
	}
	command := c.command(id, append(spec.Command, spec.Args...))
	stdin, resize, wait, err := launch(command, spec.TTY, process.stdout, process.stderr)
	if err != nil {
		return err
	}
	process.stdin, process.resize = stdin, resize
	c.mu.Lock()
	c.main[id] = process
	c.mu.Unlock()
	go func() {
		_ = wait()
		close(process.ended)
		_ = log.Close()
	}()
	return nil
}

// Exec runs a command beside the main process. When its client has gone it lives on, as it would
// in containerd, until it notices: its input ends, and its output breaks.
func (c *containers) Exec(
	_ context.Context, id string, argv []string, in io.Reader, out, errOut io.WriteCloser,
	tty bool, resize <-chan remotecommand.TerminalSize,
) error {
	stdin, setSize, wait, err := launch(c.command(id, argv), tty, out, errOut)
	if err != nil {
		return utilexec.CodeExitError{Err: err, Code: 127}
	}
	if in != nil {
		go copyAndClose(stdin, in)
	} else {
		_ = stdin.Close()
	}
	go follow(resize, setSize)
	return exitError(wait())
}

// Attach joins the main process until that ends or the client's input breaks.
func (c *containers) Attach(
	_ context.Context, id string, in io.Reader, out, errOut io.WriteCloser,
	_ bool, resize <-chan remotecommand.TerminalSize,
) error {
	process := c.get(id)
	if process == nil {
		return errors.New("no such container")
	}
	go follow(resize, process.resize)
	if out != nil {
		defer process.stdout.add(out)()
	}
	if errOut != nil {
		defer process.stderr.add(errOut)()
	}
	left := make(chan error, 1)
	if in != nil {
		go func() {
			_, err := io.Copy(process.stdin, in)
			left <- err
		}()
	}
	for {
		select {
		case <-process.ended:
			return nil
		case err := <-left:
			if err != nil {
				return err
			}
			left = nil // its input is over, and there may be more to see
		}
	}
}

// PortForward reaches a port of this machine, which stands for the pod's.
func (c *containers) PortForward(
	_ context.Context, _ string, port int32, stream io.ReadWriteCloser,
) error {
	defer stream.Close()
	connection, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer connection.Close()
	go func() {
		_, _ = io.Copy(connection, stream)
		_ = connection.(*net.TCPConn).CloseWrite()
	}()
	_, err = io.Copy(stream, connection)
	return err
}

func (c *containers) command(id string, argv []string) *exec.Cmd {
	command := exec.Command(argv[0], argv[1:]...)
	command.Dir = c.folder(id)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return command
}

// launch starts a process. wait returns when it has ended and all that it said is written. Its
// input stays the caller's to close.
func launch(
	command *exec.Cmd, tty bool, out, errOut io.Writer,
) (io.WriteCloser, func(remotecommand.TerminalSize), func() error, error) {
	if !tty {
		command.Stdout, command.Stderr = out, errOut
		stdin, err := command.StdinPipe()
		if err == nil {
			err = command.Start()
		}
		return stdin, func(remotecommand.TerminalSize) {}, command.Wait, err
	}
	command.SysProcAttr.Setsid, command.SysProcAttr.Setctty = true, true
	terminal, err := pty.Start(command)
	if err != nil {
		return nil, nil, nil, err
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.Copy(out, terminal) // ends with EIO when the last process has closed it
	}()
	wait := func() error {
		err := command.Wait()
		<-said
		_ = terminal.Close()
		return err
	}
	setSize := func(size remotecommand.TerminalSize) {
		_ = pty.Setsize(terminal, &pty.Winsize{Cols: size.Width, Rows: size.Height})
	}
	return hangUp{terminal}, setSize, wait, nil
}

// hangUp is a terminal as input: at its end it types Ctrl-D, for closing it would end the output.
type hangUp struct{ *os.File }

func (h hangUp) Close() error {
	_, err := h.Write([]byte{4})
	return err
}

func copyAndClose(to io.WriteCloser, from io.Reader) {
	_, _ = io.Copy(to, from)
	_ = to.Close()
}

func follow(resize <-chan remotecommand.TerminalSize, set func(remotecommand.TerminalSize)) {
	for size := range resize {
		set(size)
	}
}

func exitError(err error) error {
	var exited *exec.ExitError
	if !errors.As(err, &exited) {
		return err
	}
	code := exited.ExitCode()
	if status := exited.Sys().(syscall.WaitStatus); status.Signaled() {
		code = 128 + int(status.Signal()) // as runtimes and shells count
	}
	return utilexec.CodeExitError{Err: err, Code: code}
}
