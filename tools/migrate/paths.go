package main

import (
	"regexp"
	"strings"
)

// prefix begins the import paths of this project.
const prefix = "github.com/teleport-go/teleport/"

const (
	corePath     = prefix + "core"
	standardPath = prefix + "mixers/standard"
)

// age is which of the two older interfaces a module has.
type age string

const (
	v5 age = "v5" // Teleport v5: package tp, Rerror
	v7 age = "v7" // eRPC v6 and v7: package erpc, Status
)

var ancestorPath = regexp.MustCompile(`^github\.com/(?:henrylee2cn/teleport(/v[0-9]+)?|(?:henrylee2cn|andeya)/erpc(/v[0-9]+))(?:/(.*))?$`)

// ancestor reports which package of which age an import path names: sub is ""
// for the root, "plugin/auth" and so on below it.
func ancestor(path string) (a age, sub string, ok bool) {
	m := ancestorPath.FindStringSubmatch(path)
	if m == nil {
		return "", "", false
	}
	switch m[1] + m[2] {
	case "", "/v5":
		return v5, m[3], true
	case "/v6", "/v7":
		return v7, m[3], true
	}
	return "", "", false
}

// successor returns the import path here of an ancestor's package; "" if there is
// none.
func successor(sub string) string {
	switch sub {
	case "", "utils":
		return corePath
	case "codec", "socket", "xfer":
		return corePath + "/" + sub
	}
	family, name, _ := strings.Cut(sub, "/")
	switch family {
	case "xfer":
		if name == "gzip" || name == "md5" {
			return prefix + "xfers/" + name
		}
	case "proto":
		switch name {
		case "rawproto", "jsonproto", "pbproto", "thriftproto", "httproto":
			return prefix + "protos/" + name
		}
	case "plugin":
		switch name {
		case "auth", "binder", "heartbeat", "ignorecase", "overloader", "proxy":
			return prefix + "plugins/" + name
		case "secure":
			return prefix + "plugins/securelegacy" // the same wire
		}
	}
	return ""
}

// packageName is what code calls an ancestor's package that is imported without a
// name.
func packageName(a age, sub string) string {
	switch {
	case sub != "":
		return sub[strings.LastIndex(sub, "/")+1:]
	case a == v7:
		return "erpc"
	}
	return "tp"
}

// companion reports which library of the ancestors' author an import path names,
// if there is something to say about it.
func companion(importPath string) (name string, ok bool) {
	name, ok = strings.CutPrefix(importPath, "github.com/andeya/")
	if !ok {
		name, ok = strings.CutPrefix(importPath, "github.com/henrylee2cn/")
	}
	_, known := companionHints[name]
	return name, ok && known
}
