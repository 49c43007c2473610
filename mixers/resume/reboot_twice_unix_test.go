//go:build unix

package resume

import (
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	tp "github.com/teleport-go/teleport/core"
	"github.com/teleport-go/teleport/core/tptest"
	"github.com/teleport-go/teleport/mixers/resume/resumetest"
)

// upload is a stream of the engine that keeps its session in the process that has accepted it.
type upload struct {
	t    *testing.T
	pid  string
	sess tp.Session
	st   *tp.Stream[[]byte, []byte]
	sent int
}

func newUpload(t *testing.T, s *resumetest.Server, cli tp.Peer, addr string) *upload {
	t.Helper()
	u := &upload{t: t, pid: s.Pid, sess: tptest.Dial(t, cli, addr)}
	var err error
	u.st, err = tp.OpenStream[[]byte, []byte](t.Context(), u.sess, "/sum")
	require.NoError(t, err)
	u.write()
	return u
}

func (u *upload) write() {
	u.t.Helper()
	n, err := tp.StreamWriter(u.st).Write(make([]byte, 100_000))
	require.NoError(u.t, err)
	u.sent += n
}

// end ends the stream, whose process must be the one that it began with.
func (u *upload) end() {
	u.t.Helper()
	w := tp.StreamWriter(u.st)
	require.NoError(u.t, w.Close())
	got, err := io.ReadAll(tp.StreamReader(u.st))
	require.NoError(u.t, err)
	require.Equal(u.t, u.pid+" "+strconv.Itoa(u.sent), string(got))
	require.NoError(u.t, u.st.Wait())
}

// Sessions that stay with the first process go on there by connections that the third and the
// fourth one have accepted, while the processes between live, and when they have ended.
func TestRebootAfterReboot(t *testing.T) {
	for _, test := range []struct {
		name  string
		lives bool // each process has a session that stays; else only the first one
	}{{"the processes between live", true}, {"the processes between have ended", false}} {
		t.Run(test.name, func(t *testing.T) {
			srv := startServer(t, "tcp", envStays+"=1")
			cut := resumetest.NewCutter(t, srv.Addr, 0)
			cli, stats := client(t, "tcp")
			uploads := []*upload{newUpload(t, srv, cli, cut.Addr())}
			for n := range 3 {
				old := srv.Pid
				srv.Reboot(srv.Pid)
				srv.Serves()
				if !test.lives && n > 0 {
					require.Equal(t, old, srv.Next("ends"))
				}
				resumed := stats.Resumed.Load()
				cut.CutAll()
				require.Eventually(t, func() bool {
					return stats.Resumed.Load() == resumed+int64(len(uploads)) || uploads[0].sess.CloseReason() != nil
				}, patience, time.Millisecond)
				for _, u := range uploads {
					require.Nil(t, u.sess.CloseReason())
					u.write()
				}
				if test.lives {
					uploads = append(uploads, newUpload(t, srv, cli, cut.Addr()))
				}
			}
			last := srv.Pid
			for _, u := range uploads {
				u.end()
				if u.pid != last {
					require.Equal(t, u.pid, srv.Next("ends"))
				}
			}
		})
	}
}
