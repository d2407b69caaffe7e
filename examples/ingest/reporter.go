// A reporter for engines in Go: standard library only, one file, `go run reporter.go`.
//
// It runs a small job (it counts primes, in three nodes) and reports it to a Tailrace server as
// it goes; `tailrace tail ID --url …` or any browser follows it live. Copy Reporter into your
// engine: it numbers its batches, signs each try anew, repeats a batch that was not answered until
// it is, and keeps the lease alive in between, so that everything arrives, once, in order.
//
//	TAILRACE_URL        the server; http://127.0.0.1:8787
//	TAILRACE_WORKSPACE  the workspace; default
//	TAILRACE_TOKEN      a credential that may make jobs, if the server asks for one
//	TAILRACE_JOB, TAILRACE_JOB_TOKEN   a job that was made elsewhere; else one is made here
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	firstWait = 100 * time.Millisecond
	longest   = 5 * time.Second  // between two tries
	patience  = 2 * time.Minute  // with one batch; then the server is given up
	beatEvery = 20 * time.Second // a third of the server's default lease
)

// So that engines that lost the server together do not come back together; used under a mutex.
var jitter = rand.New(rand.NewSource(time.Now().UnixNano()))

// Event is one report: what happened, to which node, and what there is to say of it.
type Event struct {
	Event     string         `json:"event"`
	Node      string         `json:"node_key,omitempty"`
	Data      map[string]any `json:"data,omitempty"`
	Timestamp string         `json:"timestamp"`
}

// Reporter reports one execution. It may be used from several goroutines.
type Reporter struct {
	Base, Job, Token string
	client           http.Client
	mutex            sync.Mutex // one batch after the other: their numbers have no hole
	seq              int
	status           string
}

// Say makes a report of now.
func Say(event, node string, data map[string]any) Event {
	return Event{event, node, data, time.Now().UTC().Format(time.RFC3339Nano)}
}

// Report hands events in as one batch, and returns when the log has them. Without events it is
// only a sign of life.
func (r *Reporter) Report(events ...Event) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	batch := map[string]any{"execution_id": r.Job, "producer": "go", "events": events}
	if len(events) > 0 {
		batch["producer_seq"] = r.seq + 1
	} else {
		batch["events"] = []Event{}
	}
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	if err := r.send(body); err != nil {
		return err
	}
	if len(events) > 0 {
		r.seq++
	}
	return nil
}

// Cancelled says whether somebody asked for the execution to stop.
func (r *Reporter) Cancelled() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.status == "cancelling"
}

// send repeats a batch until it is answered. A repeat of one that had arrived is a duplicate for
// the server, so it is safe however often it happens.
func (r *Reporter) send(body []byte) error {
	for wait, end := firstWait, time.Now().Add(patience); ; wait = min(2*wait, longest) {
		retry, after, err := r.try(body)
		if err == nil || !retry || time.Now().After(end) {
			return err
		}
		time.Sleep(max(after, wait/2+time.Duration(jitter.Int63n(int64(wait/2)))))
	}
}

// try sends a batch once; it says whether trying again makes sense, and after which time.
func (r *Reporter) try(body []byte) (retry bool, after time.Duration, err error) {
	at := strconv.FormatFloat(float64(time.Now().UnixMicro())/1e6, 'f', 6, 64)
	mac := hmac.New(sha256.New, []byte(r.Token))
	mac.Write([]byte(at + "."))
	mac.Write(body)
	request, err := http.NewRequest("POST", r.Base+"/api/v1/jobs/progress", bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Tailrace-Job", r.Job)
	request.Header.Set("X-Tailrace-Timestamp", at)
	request.Header.Set("X-Tailrace-Signature", "v1="+hex.EncodeToString(mac.Sum(nil)))
	answer, err := r.client.Do(request)
	if err != nil {
		return true, 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return true, 0, err // the answer was cut: nobody knows whether it arrived
	}
	if answer.StatusCode < 300 {
		var taken struct{ Status string }
		err = json.Unmarshal(text, &taken)
		r.status = taken.Status
		return err != nil, 0, err
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	retry = answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= 500
	return retry, time.Duration(seconds) * time.Second, fmt.Errorf("%s: %s", answer.Status, text)
}

// Beat says every now and then that this engine lives, until done is closed: for nodes that have
// nothing to say for long.
func (r *Reporter) Beat(done <-chan struct{}) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			if err := r.Report(); err != nil {
				fmt.Fprintln(os.Stderr, "reporter: no sign of life:", err)
			}
		}
	}
}

// NewJob announces an execution to the server.
func NewJob(base, workspace, credential, flow string, input any) (*Reporter, error) {
	body, err := json.Marshal(map[string]any{"flow": flow, "input": input})
	if err != nil {
		return nil, err
	}
	path := base + "/api/v1/workspaces/" + workspace + "/jobs"
	request, err := http.NewRequest("POST", path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if credential != "" {
		request.Header.Set("Authorization", "Bearer "+credential)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		text, _ := io.ReadAll(answer.Body)
		return nil, fmt.Errorf("%s: %s", answer.Status, text)
	}
	var made struct {
		Job   string `json:"execution_id"`
		Token string `json:"token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&made); err != nil {
		return nil, err
	}
	return &Reporter{Base: base, Job: made.Job, Token: made.Token}, nil
}

// --- the job that is reported ---------------------------------------------------------------------

const limit, parts = 300_000, 3

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "reporter:", err)
		os.Exit(1)
	}
}

func run() error {
	reporter, err := reporterFromEnvironment()
	if err != nil {
		return err
	}
	fmt.Println(reporter.Job)
	reporter.client.Timeout = 10 * time.Second
	done := make(chan struct{})
	defer close(done)
	go reporter.Beat(done)

	total := 0
	for part := 0; part < parts; part++ {
		if reporter.Cancelled() {
			return reporter.Report(Say("execution.cancelled", "", map[string]any{"by": "go"}))
		}
		found, err := countPart(reporter, part)
		if err != nil {
			return err
		}
		total += found
	}
	return reporter.Report(Say("execution.completed", "", map[string]any{
		"output": map[string]any{"below": limit, "primes": total},
	}))
}

func countPart(reporter *Reporter, part int) (int, error) {
	node := fmt.Sprintf("count_%d", part+1)
	from, to := part*limit/parts, (part+1)*limit/parts
	if err := reporter.Report(Say("node.started", node, nil)); err != nil {
		return 0, err
	}
	found := 0
	for number := from; number < to; number++ {
		if isPrime(number) {
			found++
		}
	}
	line := fmt.Sprintf("%d primes from %d to %d", found, from, to)
	return found, reporter.Report(
		Say("log.line", node, map[string]any{"line": line, "source": "go"}),
		Say("node.completed", node, map[string]any{"output": map[string]any{"primes": found}}),
	)
}

func isPrime(number int) bool {
	for divisor := 2; divisor*divisor <= number; divisor++ {
		if number%divisor == 0 {
			return false
		}
	}
	return number > 1
}

func reporterFromEnvironment() (*Reporter, error) {
	base := environment("TAILRACE_URL", "http://127.0.0.1:8787")
	if job := os.Getenv("TAILRACE_JOB"); job != "" {
		return &Reporter{Base: base, Job: job, Token: os.Getenv("TAILRACE_JOB_TOKEN")}, nil
	}
	workspace := environment("TAILRACE_WORKSPACE", "default")
	credential := os.Getenv("TAILRACE_TOKEN")
	return NewJob(base, workspace, credential, "primes", map[string]any{"below": limit})
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func min(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}

func max(a, b time.Duration) time.Duration {
	if a > b {
		return a
	}
	return b
}
