package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// run runs a command and returns what it wrote to its standard output; what it
// says on the other one is in the error. env comes on top of the process's own.
func run(dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out, says strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &says
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("modkit: %s %s in %s: %w\n%s", name, strings.Join(args, " "), dir, err, strings.TrimSpace(says.String()))
	}
	return out.String(), nil
}

// outside is the environment of a go command that works as it does at a
// user's: no workspace, the modules of the repository from the proxy directory
// ours. The module cache is private (a zip of the work tree in the user's one
// would be taken for the published version ever after); what is not ours comes
// from the download cache of the machine, read as a proxy, before the network.
func outside(ours, modcache string) ([]string, error) {
	out, err := run("", nil, "go", "env", "GOPROXY", "GOMODCACHE")
	if err != nil {
		return nil, err
	}
	proxy, cache, _ := strings.Cut(strings.TrimSpace(out), "\n")
	cache = filepath.ToSlash(filepath.Join(cache, "cache", "download"))
	return []string{
		"GOWORK=off",
		"GOFLAGS=-mod=mod -modcacherw",
		"GOSUMDB=off", // nobody has published these versions; GONOSUMDB is not enough
		"GOPROXY=" + fileURL(ours) + "," + fileURL(cache) + "," + proxy,
		"GOMODCACHE=" + modcache,
	}, nil
}

func fileURL(dir string) string {
	dir = filepath.ToSlash(dir)
	if !strings.HasPrefix(dir, "/") {
		dir = "/" + dir // C:/… on Windows
	}
	return "file://" + dir
}
