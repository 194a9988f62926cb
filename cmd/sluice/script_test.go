package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// TestScripts runs the binary as operators do. Beside testscript's own commands
// there are
//
//	sluice ARGS...            ends with 0
//	fails CODE ARGS...        the same with another exit code
//	start NAME ARGS...        runs sluice meanwhile, printing into NAME.out and NAME.err
//	ready ADDR                waits until the gate with that admin listener is ready
//	await FILE PATTERN        waits until the file matches
//	signal NAME TERM          sends a signal
//	ended NAME CODE           waits for the end
//	ports VAR...              puts free addresses of 127.0.0.1 into VAR, their ports into VAR_PORT
//	get URL [NAME:VALUE...]   writes status, header and body into the file answer
//
// $SHOP is an origin that answers with the path and host it was asked for.
// Nothing that sluice prints, in any script, may contain "hunter2": every secret
// of the scripts does.
func TestScripts(t *testing.T) {
	t.Parallel()
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "the shop at %s%s\n", r.Host, r.URL.Path)
	}))
	t.Cleanup(shop.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "sluice")); err != nil {
		t.Fatal(err)
	}
	t.Run("scripts", func(t *testing.T) { // they run side by side and need the shop to the end
		testscript.Run(t, testscript.Params{
			Dir: "testdata/script",
			Setup: func(env *testscript.Env) error {
				s := &stage{running: make(map[string]*running), port: func() int { return proc.FreePort(t) }}
				env.Values[stageKey{}] = s
				env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
				for _, pair := range environment {
					name, value, _ := strings.Cut(pair, "=")
					env.Setenv(name, value)
				}
				env.Setenv("SHOP", shop.URL)
				env.Defer(s.end)
				return nil
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){
				"sluice": func(ts *testscript.TestScript, neg bool, args []string) { runSluice(ts, neg, 0, args) },
				"fails": func(ts *testscript.TestScript, neg bool, args []string) {
					code, err := strconv.Atoi(args[0])
					ts.Check(err)
					runSluice(ts, neg, code, args[1:])
				},
				"start": startSluice,
				"ready": func(ts *testscript.TestScript, _ bool, args []string) {
					eventually(ts, "the gate is ready", func() error { return ready("http://" + args[0]) })
				},
				"await": func(ts *testscript.TestScript, _ bool, args []string) {
					pattern, err := regexp.Compile("(?m)" + args[1])
					ts.Check(err)
					var text string
					eventually(ts, "it prints "+args[1], func() error {
						if text = ts.ReadFile(args[0]); !pattern.MatchString(text) {
							return fmt.Errorf("it prints\n%s", text)
						}
						return nil
					})
				},
				"signal": func(ts *testscript.TestScript, _ bool, args []string) {
					s, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}[args[1]]
					if !ok {
						ts.Fatalf("no signal %s", args[1])
					}
					ts.Check(stageOf(ts).running[args[0]].cmd.Process.Signal(s))
				},
				"ended": endedSluice,
				"ports": func(ts *testscript.TestScript, _ bool, args []string) {
					for _, name := range args {
						port := strconv.Itoa(stageOf(ts).port())
						ts.Setenv(name, net.JoinHostPort("127.0.0.1", port))
						ts.Setenv(name+"_PORT", port)
					}
				},
				"get": get,
			},
		})
	})
}

// stage is what one script has going on.
type stage struct {
	port    func() int
	mu      sync.Mutex
	running map[string]*running
}

type stageKey struct{}

// running is a sluice in the background.
type running struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value(stageKey{}).(*stage) }

func (s *stage) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		_ = r.cmd.Process.Kill()
		<-r.done
	}
}

func runSluice(ts *testscript.TestScript, neg bool, want int, args []string) {
	if neg {
		ts.Fatalf("name the exit code: fails CODE ARGS")
	}
	err := ts.Exec("sluice", args...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("sluice: %v", err)
	}
	tellsNoSecret(ts, "stdout", "stderr")
	if code != want {
		ts.Fatalf("sluice %q ends with %d, want %d", args, code, want)
	}
}

func tellsNoSecret(ts *testscript.TestScript, files ...string) {
	for _, file := range files {
		if strings.Contains(ts.ReadFile(file), "hunter2") {
			ts.Fatalf("%s tells a secret:\n%s", file, ts.ReadFile(file))
		}
	}
}

// variables are what a sluice in the background is given of the script's.
var variables = []string{
	"PATH", asSluice, "GORACE", "SHOP", "SLUICE_CONFIG", "SLUICE_LISTEN", "SLUICE_ADMIN", "SLUICE_ORIGIN", "SLUICE_STORE",
	"SLUICE_RATE", "SLUICE_MAX_ACTIVE", "SLUICE_SECRET", "SLUICE_TOKEN", "SLUICE_COLOUR", "WORD", "ADDR", "ADMIN",
}

func startSluice(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	r := &running{cmd: exec.Command("sluice", args[1:]...), done: make(chan struct{})}
	r.cmd.Dir = ts.MkAbs(".")
	for _, v := range variables {
		if value := ts.Getenv(v); value != "" {
			r.cmd.Env = append(r.cmd.Env, v+"="+value)
		}
	}
	bin, _, _ := strings.Cut(ts.Getenv("PATH"), string(filepath.ListSeparator))
	r.cmd.Path, r.cmd.Err = filepath.Join(bin, "sluice"), nil
	out, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer out.Close()
	log, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer log.Close()
	r.cmd.Stdout, r.cmd.Stderr = out, log
	ts.Check(r.cmd.Start())
	s := stageOf(ts)
	s.mu.Lock()
	s.running[name] = r
	s.mu.Unlock()
	go func() {
		_ = r.cmd.Wait() // the exit code tells
		close(r.done)
	}()
}

func endedSluice(ts *testscript.TestScript, _ bool, args []string) {
	r := stageOf(ts).running[args[0]]
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	select {
	case <-r.done:
	case <-patience.C:
		ts.Fatalf("%s does not end", args[0])
	}
	tellsNoSecret(ts, args[0]+".out", args[0]+".err")
	if got := fmt.Sprint(r.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("%s ends with %s, want %s; it printed\n%s", args[0], got, args[1], ts.ReadFile(args[0]+".err"))
	}
}

func eventually(ts *testscript.TestScript, what string, ask func() error) {
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("waited in vain until %s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func get(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequest("GET", args[0], nil)
	ts.Check(err)
	for _, pair := range args[1:] {
		name, value, _ := strings.Cut(pair, ":")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	ts.Check(err)
	defer resp.Body.Close()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\n", resp.StatusCode)
	ts.Check(resp.Header.Write(&b))
	b.WriteByte('\n')
	_, err = io.Copy(&b, resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), b.Bytes(), 0o600))
}

// TestTheReferenceNamesEveryKey holds docs/configuration.md against the example
// that has every key.
func TestTheReferenceNamesEveryKey(t *testing.T) {
	reference := read(t, "../../docs/configuration.md")
	var root yaml.Node
	if err := yaml.Unmarshal(read(t, "../../gate/config/testdata/good/full.yaml"), &root); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{"secret_file": true} // stands in for secret
	var walk func(n *yaml.Node, at string)
	walk = func(n *yaml.Node, at string) {
		switch n.Kind {
		case yaml.DocumentNode:
			walk(n.Content[0], at)
		case yaml.SequenceNode:
			for _, item := range n.Content {
				walk(item, at+"[]")
			}
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				key := strings.TrimPrefix(at+"."+n.Content[i].Value, ".")
				if n.Content[i+1].Kind != yaml.MappingNode { // a section is named by its keys
					keys[strings.TrimPrefix(key, "rooms[].")] = true
				}
				walk(n.Content[i+1], key)
			}
		}
	}
	walk(&root, "")
	if len(keys) < 40 {
		t.Fatalf("only %d keys were found", len(keys))
	}
	for key := range keys {
		if !bytes.Contains(reference, []byte("`"+key+"`")) {
			t.Errorf("docs/configuration.md does not name `%s`", key)
		}
	}
}

// TestWhatIsDeployedIsValid loads the configurations that deploy/ has.
func TestWhatIsDeployedIsValid(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("secret", strings.Repeat("x", 44))
	write("tokens", "me operator "+strings.Repeat("ab", 32))
	load := func(name, text string) {
		text = strings.ReplaceAll(text, "/etc/sluice-secret/", dir+"/")
		_, err := config.Load(config.Source{
			File: filepath.Join(dir, "sluice.yaml"), Data: []byte(text),
			Env: func(name string) (string, bool) { return strings.Repeat("x", 44), name == "SLUICE_SECRET" },
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	load("deploy/compose/sluice.yaml", string(read(t, "../../deploy/compose/sluice.yaml")))
	var object struct {
		Kind string
		Data map[string]string
	}
	if err := yaml.Unmarshal(read(t, "../../deploy/kubernetes.yaml"), &object); err != nil || object.Kind != "ConfigMap" {
		t.Fatalf("deploy/kubernetes.yaml does not begin with the configuration: %s, %v", object.Kind, err)
	}
	load("deploy/kubernetes.yaml", object.Data["sluice.yaml"])
}

// TestWhatIsWatchedIsMeasured looks for every metric that the rules, the
// dashboard and the guides name.
func TestWhatIsWatchedIsMeasured(t *testing.T) {
	m := metrics.New("test", []string{"drop"})
	m.Certificates(map[string]time.Time{"shop.example": time.Now()})
	m.SetOrigins(func() []metrics.Origin { return make([]metrics.Origin, 1) })
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	name := regexp.MustCompile(`\bsluice_[a-z_]+`)
	has := make(map[string]bool)
	for _, n := range name.FindAllString(w.Body.String(), -1) {
		has[n] = true
	}
	for _, file := range []string{
		"deploy/prometheus/rules.yml", "deploy/grafana.json", "docs/operating.md", "docs/configuration.md",
	} {
		for _, n := range name.FindAllString(string(read(t, "../../"+file)), -1) {
			if !has[n] {
				t.Errorf("%s names %s, which no gate shows", file, n)
			}
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
