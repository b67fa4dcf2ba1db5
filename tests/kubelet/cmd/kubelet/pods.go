package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// pods starts what is bound to this node, and says so in the pods' status.
type pods struct {
	client     kubernetes.Interface
	node       string
	containers *containers
	lister     listers.PodLister
}

func newPods(client kubernetes.Interface, node string, containers *containers) *pods {
	return &pods{client: client, node: node, containers: containers}
}

func (p *pods) get(namespace, name string) (*v1.Pod, bool) {
	pod, err := p.lister.Pods(namespace).Get(name)
	return pod, err == nil
}

// register makes the Node, which says where kube-apiserver reaches the kubelet.
func (p *pods) register(ctx context.Context, port int32) error {
	_, err := p.client.CoreV1().Nodes().Create(ctx, &v1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: p.node},
		Status: v1.NodeStatus{
			Addresses:       []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: address}},
			DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: port}},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) { // it has been here before, at the same port
		return nil
	}
	return err
}

// follow begins to watch the pods of this node; those that there are, are known when it returns.
func (p *pods) follow(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(p.client, 0,
		informers.WithTweakListOptions(func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", p.node).String()
		}))
	informer := factory.Core().V1().Pods()
	p.lister = informer.Lister()
	if _, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) {
			pod := object.(*v1.Pod)
			if err := p.start(ctx, pod); err != nil {
				fmt.Fprintf(os.Stderr, "kubelet: %s/%s: %v\n", pod.Namespace, pod.Name, err)
			}
		},
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), informer.Informer().HasSynced) {
		return ctx.Err()
	}
	return nil
}

func (p *pods) start(ctx context.Context, pod *v1.Pod) error {
	statuses := make([]v1.ContainerStatus, 0, len(pod.Spec.Containers))
	for _, container := range pod.Spec.Containers {
		id := strings.Join([]string{pod.Namespace, pod.Name, container.Name}, "/")
		if err := p.containers.start(id, container); err != nil {
			return err
		}
		statuses = append(statuses, v1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: container.Image, Ready: true,
			ContainerID: "process://" + id,
			State: v1.ContainerState{
				Running: &v1.ContainerStateRunning{StartedAt: metav1.NewTime(time.Now())},
			},
		})
	}
	running := pod.DeepCopy()
	running.Status.Phase = v1.PodRunning
	running.Status.ContainerStatuses = statuses
	_, err := p.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, running, metav1.UpdateOptions{})
	return err
}
