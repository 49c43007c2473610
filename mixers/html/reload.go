package html

import (
	"fmt"
	"io/fs"
	"strings"
	"time"

	tp "github.com/teleport-go/teleport/core"
)

// lookEvery is how often Reload looks at the files at most.
const lookEvery = 100 * time.Millisecond

// stamp changes when a file does.
func (p *Pages) stamp(files []file) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%s %v", f.path, f.page)
		if info, err := fs.Stat(p.fsys, f.path); err == nil {
			fmt.Fprintf(&b, " %d %d", info.ModTime().UnixNano(), info.Size())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// reload parses the files again if they have changed. The last good pages stay if they
// cannot be parsed.
func (p *Pages) reload() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) < lookEvery {
		return
	}
	files, err := p.files()
	if err == nil {
		if p.stamp(files) == p.set.Load().stamp {
			p.looked, p.broken = time.Now(), ""
			return
		}
		var s *set
		if s, err = p.parse(files); err == nil {
			p.set.Store(s)
		}
	}
	p.looked = time.Now()
	if err == nil {
		p.broken = ""
		return
	}
	if text := err.Error(); text != p.broken {
		p.broken = text
		if text += "; the last good pages stay"; p.o.Logger != nil {
			p.o.Logger.Warn(text)
		} else {
			tp.Warnf("%s", text)
		}
	}
}
