package outproc

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/teleport-go/teleport/mixers/outproc/internal/contract"
)

// checkSum refuses a file that the lock file does not have, before it is run.
func checkSum(g *Guest, sum string) error {
	if g.Lock == "" {
		return nil
	}
	list, err := readLock(g.Lock)
	if err != nil {
		return fmt.Errorf("%w; to make one: %s", err, g.lockCommand())
	}
	for _, e := range list {
		if e.SHA256[platform] == sum && (g.Name == "" || g.Name == e.Name) {
			return nil
		}
	}
	which := "which " + g.Lock + " does not list for " + platform
	if i := lockIndex(list, g.Name); i >= 0 && list[i].SHA256[platform] != "" {
		which = "not " + list[i].SHA256[platform] + " as " + g.Lock + " has it for " + g.Name + " on " + platform
	}
	return fmt.Errorf("%s has the SHA-256 %s, %s: it was not run. If it is the file to run: %s", g.Path, sum, which, g.lockCommand())
}

// checkLock refuses a guest that the lock file has with another name, version or hash.
// Load and Reload call it before the guest's parts are used.
func checkLock(g *Guest, desc contract.Description, sum string) error {
	if g.Lock == "" || g.Connect != "" {
		return nil
	}
	list, err := readLock(g.Lock)
	if err != nil {
		return err
	}
	i := lockIndex(list, desc.Name)
	switch {
	case i < 0:
		err = fmt.Errorf("%s does not list %s", g.Lock, desc.Name)
	case list[i].SHA256[platform] != sum:
		err = fmt.Errorf("%s is %s with the SHA-256 %s, and %s lists another file for that name", g.Path, desc.Name, sum, g.Lock)
	case list[i].Version != desc.Version:
		err = fmt.Errorf("%s says that its version is %s, %s has %s", desc.Name, desc.Version, g.Lock, list[i].Version)
	default:
		return nil
	}
	return fmt.Errorf("%w. If it is the guest to run: %s", err, g.lockCommand())
}

// platform is the key of this system in a lock file.
const platform = runtime.GOOS + "/" + runtime.GOARCH

// lockCommand is the command line that writes what g needs into the lock file.
func (g *Guest) lockCommand() string {
	if g.from != "" {
		return "teleport guests lock " + quoteArg(g.from)
	}
	return "teleport guests lock --lock " + quoteArg(g.Lock) + " " + quoteArg(g.Path)
}

func quoteArg(s string) string {
	if strings.ContainsAny(s, " \t\n'\"\\$`*?;&|<>()#~") {
		return strconv.Quote(s)
	}
	return s
}
