package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// broadcast gives what a container says to its log and to everybody who is attached.
type broadcast struct {
	mu      sync.Mutex
	log     io.Writer
	writers map[io.Writer]struct{}
}

func newBroadcast(log io.Writer) *broadcast {
	return &broadcast{log: log, writers: map[io.Writer]struct{}{}}
}

// add lets a writer have what comes from now on; the function that it returns ends that.
func (b *broadcast) add(writer io.Writer) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writers[writer] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.writers, writer)
	}
}

func (b *broadcast) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for writer := range b.writers {
		if _, err := writer.Write(data); err != nil {
			delete(b.writers, writer)
		}
	}
	return b.log.Write(data)
}

// logFile is shared by a container's two streams.
type logFile struct {
	mu   sync.Mutex
	file *os.File
}

// logStream writes lines in the format that runtimes write and the kubelet reads (CRI).
type logStream struct {
	file *logFile
	name string
}

func (s *logStream) Write(data []byte) (int, error) {
	s.file.mu.Lock()
	defer s.file.mu.Unlock()
	var lines bytes.Buffer
	for rest := data; len(rest) > 0; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		tag := "F"
		if !whole {
			tag = "P"
		}
		fmt.Fprintf(&lines, "%s %s %s %s\n", time.Now().Format(time.RFC3339Nano), s.name, tag, line)
		rest = after
	}
	if _, err := s.file.file.Write(lines.Bytes()); err != nil {
		return 0, err
	}
	return len(data), nil
}
