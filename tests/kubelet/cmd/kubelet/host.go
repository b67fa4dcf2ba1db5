package main

import (
	"context"
	"fmt"
	"io"
	"net/url"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-client/pkg/logs"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/kubernetes/pkg/kubelet/server"
)

// host is what the kubelet's server asks for; of that, what streams and logs need.
type host struct {
	server.HostInterface // the rest: nil, for nobody calls it
	pods                 *pods
	streams              streaming.Server
}

func (h *host) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	return h.pods.get(namespace, name)
}

func (h *host) GetExec(
	_ context.Context, pod string, _ types.UID, name string, command []string,
	options remotecommand.Options,
) (*url.URL, error) {
	id, err := h.running(pod, name)
	if err != nil {
		return nil, err
	}
	answer, err := h.streams.GetExec(&runtimeapi.ExecRequest{
		ContainerId: id, Cmd: command, Tty: options.TTY,
		Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (h *host) GetAttach(
	_ context.Context, pod string, _ types.UID, name string, options remotecommand.Options,
) (*url.URL, error) {
	id, err := h.running(pod, name)
	if err != nil {
		return nil, err
	}
	answer, err := h.streams.GetAttach(&runtimeapi.AttachRequest{
		ContainerId: id, Tty: options.TTY,
		Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

func (h *host) GetPortForward(
	_ context.Context, name, namespace string, _ types.UID, options portforward.V4Options,
) (*url.URL, error) {
	answer, err := h.streams.GetPortForward(&runtimeapi.PortForwardRequest{
		PodSandboxId: namespace + "/" + name, Port: options.Ports,
	})
	if err != nil {
		return nil, err
	}
	return url.Parse(answer.Url)
}

// GetKubeletContainerLogs reads as the kubelet does, its first empty write included, with which an
// answer begins before there is anything to say.
func (h *host) GetKubeletContainerLogs(
	ctx context.Context, pod, name string, options *v1.PodLogOptions, stdout, stderr io.Writer,
) error {
	id, err := h.running(pod, name)
	if err != nil {
		return err
	}
	if stdout != nil {
		if _, err := stdout.Write(nil); err != nil {
			return err
		}
	}
	return logs.ReadLogs(ctx, h.pods.containers.logFile(id), id, &logs.LogOptions{
		TailLines: options.TailLines, LimitBytes: options.LimitBytes,
		Follow: options.Follow, Timestamp: options.Timestamps,
	}, states{containers: h.pods.containers}, stdout, stderr)
}

// running returns the id of a container; pod as the kubelet has it, NAME_NAMESPACE.
func (h *host) running(pod, name string) (string, error) {
	id, err := containerID(pod, name)
	if err != nil {
		return "", err
	}
	if !h.pods.containers.known(id) {
		return "", fmt.Errorf("container not found (%q)", name)
	}
	return id, nil
}

// states tells the log reader whether it should go on waiting.
type states struct {
	internalapi.RuntimeService // the rest: nil, for nobody calls it
	containers                 *containers
}

func (s states) ContainerStatus(
	_ context.Context, id string, _ bool,
) (*runtimeapi.ContainerStatusResponse, error) {
	state := runtimeapi.ContainerState_CONTAINER_EXITED
	if s.containers.alive(id) {
		state = runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return &runtimeapi.ContainerStatusResponse{
		Status: &runtimeapi.ContainerStatus{Id: id, State: state},
	}, nil
}
