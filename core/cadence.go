package tp

import (
	"time"

	"github.com/teleport-go/teleport/core/internal/inlining"
)

const (
	// pollBelow is the average wait, in nanoseconds, of a reader that polls.
	pollBelow = int64(120 * time.Microsecond)
	// longWait is as long as a wait counts at most, in nanoseconds.
	longWait = int64(time.Millisecond)
	// preemptedAfter is the time between two polls of a reader, in nanoseconds, from
	// which on it was preempted: the machine is busy, and a thread that polls gets its
	// processor back later than one that has slept.
	preemptedAfter = int64(500 * time.Microsecond)
	// A reader that was preempted does not poll for pollBanFactor times as long as that
	// took; if it is preempted again in as short a time after the ban, for twice as long
	// as the last time, up to maxPollBan.
	pollBanFactor = 16
	maxPollBan    = int64(time.Second)
	// minPolledSessions is how many sessions a peer has before the poll loop serves
	// them: below it, a goroutine per session is faster.
	minPolledSessions = 16
	// maxPolledReads and maxPolledBytes are how often, and how much, the poll loop reads
	// from one connection before the session gets a goroutine of its own: all others
	// of the poller wait meanwhile.
	maxPolledReads = 4
	maxPolledBytes = 128 << 10
	// maxSingles is how many single messages a reader waits for, one after the
	// other, before it gives its connection back to the poller.
	maxSingles = 64
)

// shouldUsePoller reports whether the poll loop should serve the sessions of a peer
// that has so many. It must not if hooks may block: a poll loop blocked in a hook
// serves no other session.
func shouldUsePoller(sessions int, hooksMayBlock bool) bool {
	return (sessions >= minPolledSessions || inlining.Always) && !hooksMayBlock
}

// cadence records how the messages of one connection arrive, and decides by that how
// the connection is read. It is the reader's alone. It knows nothing of the
// connection, and reads no clock.
type cadence struct {
	at      int64 // when a reader parked the connection, or the poll loop came back to it; nanoseconds
	wait    int64 // average time of a wait for a message, in nanoseconds
	ban     int64 // how long the last ban of polling was
	banned  int64 // the end of the ban
	batch   int32 // messages since the last wait
	singles int32 // waits in a row that ended with one message
	reads   int32 // by the poll loop since it came back
	bytes   int64 // of messages it has read since then
	size    int   // of the last message, in bytes
}

// observeWait notes how long a wait took. One long wait ends the polling of a
// reader; a dozen short ones start it again.
func (c *cadence) observeWait(d int64) { c.wait += (min(d, longWait) - c.wait) / 8 }

// shouldPoll reports whether the next message will come soon enough to poll for it.
func (c *cadence) shouldPoll(now int64) bool { return c.wait < pollBelow && now >= c.banned }

// polledAgain notes that a polling reader polls at now, and polled before at last. It
// returns false if the reader must stop polling.
func (c *cadence) polledAgain(last, now int64) bool {
	if now-last < preemptedAfter {
		return true
	}
	if c.ban > 0 && now-c.banned < c.ban {
		c.ban *= 2
	} else {
		c.ban = pollBanFactor * (now - last)
	}
	c.ban = min(c.ban, maxPollBan)
	c.banned = now + c.ban
	return false
}

// parked notes that the wait for a message begins at now, without a goroutine.
func (c *cadence) parked(now int64) { c.at = now }

// polled notes that the poll loop has come back to the connection, which ends a wait. That
// began when the poll loop came back to it before: the time for which it served it is a part.
func (c *cadence) polled(now int64) {
	c.observeWait(now - c.at)
	c.at, c.reads, c.bytes = now, 0, 0
}

// polledRead notes a read by the poll loop, between two messages. It returns false if
// the connection has received so much that it needs a reader of its own.
func (c *cadence) polledRead() bool {
	c.reads++
	return c.reads <= maxPolledReads
}

// message notes that a message was read. It returns false as polledRead does; only
// the poll loop heeds that.
func (c *cadence) message(size uint32) bool {
	c.batch++
	c.size = int(size)
	c.bytes += int64(size)
	return c.bytes <= maxPolledBytes
}

// endBatch notes that the reader is about to wait. It returns how many messages it
// has read since the last wait.
func (c *cadence) endBatch() (messages int32) {
	messages, c.batch = c.batch, 0
	if messages > 1 {
		c.singles = 0
	} else {
		c.singles++
	}
	return messages
}

// shouldPark reports whether the connection has too few messages for a reader of its
// own, if the poller serves the sessions of its peer.
func (c *cadence) shouldPark(now int64) bool {
	if c.singles <= maxSingles || c.shouldPoll(now) {
		return false
	}
	c.singles = 0
	return true
}

// needsRead reports whether the next message, of which so many bytes are buffered, most
// likely is not whole: then the network is read before it can be handled, and what is to
// be sent should not wait for that.
func (c *cadence) needsRead(buffered int) bool { return buffered < c.size }
