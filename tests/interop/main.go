// Command interop is a stranger to Jurat: a foreign log and a foreign auditor.
//
// It is built on golang.org/x/mod/sumdb/note and golang.org/x/mod/sumdb/tlog and Go's standard
// library, shares no line of code with the service, and learns about it only through HTTP. What it
// finds right, another implementation of the C2SP texts finds right.
//
//	interop key [-name NAME] DIR    create the foreign log's key; print its verifier key
//	interop run -url URL …          be the log, then the auditor; exit 0 only when all is proven
//	interop evidence [FILE...]      say whom tlog-fork files convict
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

const usage = `usage:
  interop key [-name NAME] DIR
  interop run -url URL -origin ORIGIN -log-vkey VKEY -witness-vkey VKEY... -work DIR
              [-cosigner-vkey VKEY...] [-quorum N] [-anchors N] [-timeout D] [-fork]
  interop evidence [-origin ORIGIN -log-vkey VKEY... -retired-vkey VKEY...]
              [-cosigner-vkey VKEY...] [-gossip-vkey VKEY...] [FILE...]
`

// Exit codes: 1 says that the service is wrong, 2 that the command line is.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	var err error
	switch command {
	case "key":
		err = keyCommand(args[1:], stdout, stderr)
	case "run":
		err = runCommand(ctx, args[1:], stdout, stderr)
	case "evidence":
		err = evidenceCommand(args[1:], os.Stdin, stdout, stderr)
	default:
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return exitUsage
	case errors.As(err, new(usageError)):
		fmt.Fprintf(stderr, "interop: %v\n%s", err, usage)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "interop: FAILED: %v\n", err)
		return exitFailed
	}
}

// usageError is a fault of the person at the command line.
type usageError struct{ reason string }

func (e usageError) Error() string { return e.reason }

// repeated is a flag that may be given several times.
type repeated []string

func (r *repeated) String() string { return fmt.Sprint(*r) }

func (r *repeated) Set(value string) error {
	*r = append(*r, value)
	return nil
}

func keyCommand(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("interop key", flag.ContinueOnError)
	flags.SetOutput(stderr)
	name := flags.String("name", "interop.example/foreign-log", "the log's origin and key name")
	if err := flags.Parse(args); err != nil {
		return usageError{err.Error()}
	}
	if flags.NArg() != 1 {
		return usageError{"key: exactly one DIR is wanted"}
	}
	vkey, err := createKey(flags.Arg(0), *name)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, vkey)
	return nil
}

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("interop run", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var witnessKeys, cosignerKeys repeated
	url := flags.String("url", "", "the service's URL")
	origin := flags.String("origin", "", "the service's own origin")
	logKey := flags.String("log-vkey", "", "the service's Ed25519 verifier key")
	work := flags.String("work", "", "the folder in which `interop key` made the foreign log's key")
	quorum := flags.Int("quorum", 1, "how many of the witnesses must have cosigned")
	anchors := flags.Int("anchors", 300, "how many sizes of the foreign log to anchor")
	fork := flags.Bool("fork", false,
		"at the end, fork the foreign log: it must be refused, and convicted for good")
	timeout := flags.Duration("timeout", 4*time.Minute, "the longest that the whole run may take")
	flags.Var(&witnessKeys, "witness-vkey", "a witness's verifier key (repeatable)")
	flags.Var(&cosignerKeys, "cosigner-vkey",
		"a verifier key of the service's answers to add-checkpoint (repeatable)")
	if err := flags.Parse(args); err != nil {
		return usageError{err.Error()}
	}
	switch {
	case flags.NArg() != 0:
		return usageError{fmt.Sprintf("run: unexpected argument %q", flags.Arg(0))}
	case *url == "" || *origin == "" || *logKey == "" || *work == "":
		return usageError{"run: -url, -origin, -log-vkey and -work are wanted"}
	case *quorum < 1 || *quorum > len(witnessKeys):
		return usageError{fmt.Sprintf(
			"run: -quorum %d with %d -witness-vkey", *quorum, len(witnessKeys))}
	case *anchors < anchorsMin:
		return usageError{fmt.Sprintf("run: -anchors %d is below %d", *anchors, anchorsMin)}
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()

	foreign, err := loadForeignLog(*work)
	if err != nil {
		return err
	}
	auditor, err := newAuditor(newClient(*url), *origin, *logKey, witnessKeys, *quorum)
	if err != nil {
		return usageError{err.Error()}
	}
	cosigners, err := parseCosigners(cosignerKeys)
	if err != nil {
		return usageError{err.Error()}
	}
	s := &session{
		client:    newClient(*url),
		log:       foreign,
		auditor:   auditor,
		cosigners: cosigners,
		anchors:   *anchors,
		fork:      *fork,
		out:       stdout,
	}
	return s.run(ctx)
}
