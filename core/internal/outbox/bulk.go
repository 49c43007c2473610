package outbox

import "context"

// BulkFrom is the length of the smallest frame that is bulk, if its sender says so.
const BulkFrom = 16 << 10

// bulkBound is how many bytes of bulk may wait to be written.
const bulkBound = 256 << 10

// Bulk is what may be held up for the sake of others: large parts of long transfers. While
// bulkBound of it waits to be written to a Writer, more of it waits outside of the batch, so
// that a small frame finds no more than that in front of it.
type Bulk struct {
	turn  chan struct{} // of capacity 1; full while a frame is being accepted, whose goroutine has the fields below
	ends  []bulkEnd     // in order
	bytes int           // of ends
}

// NewBulk returns the Bulk for one Writer.
func NewBulk() *Bulk { return &Bulk{turn: make(chan struct{}, 1)} }

// bulkEnd is where a frame of n bytes ends, counted in bytes accepted before.
type bulkEnd struct {
	at uint64
	n  int
}

// SendBulk is Send for a frame that is bulk: it waits in addition until less than bulkBound
// of bulk waits to be written, in the order of the calls.
func (w *Writer) SendBulk(ctx context.Context, b *Bulk, frame []byte) (at uint64, err error) {
	var ended <-chan struct{}
	if ctx != nil {
		ended = ctx.Done()
	}
	select {
	case b.turn <- struct{}{}:
	case <-ended:
		recycle(frame)
		return 0, ctx.Err()
	}
	defer func() { <-b.turn }()
	if err := w.awaitBulk(ctx, b); err != nil {
		recycle(frame)
		return 0, err
	}
	n := len(frame)
	if at, err = w.Send(ctx, frame); err == nil {
		b.ends = append(b.ends, bulkEnd{at + uint64(n), n})
		b.bytes += n
	}
	return at, err
}

// awaitBulk waits until there is room for bulk.
func (w *Writer) awaitBulk(ctx context.Context, b *Bulk) error {
	for {
		w.mu.Lock()
		if w.err != nil {
			defer w.mu.Unlock()
			return w.err
		}
		i := 0
		for ; i < len(b.ends) && b.ends[i].at <= w.written; i++ {
			b.bytes -= b.ends[i].n
		}
		b.ends = b.ends[:copy(b.ends, b.ends[i:])]
		if b.bytes < bulkBound {
			w.mu.Unlock()
			return nil
		}
		t := w.waiters().bulk.push(0, b.ends[0].at)
		w.start()
		w.mu.Unlock()
		err := t.wait(ctx)
		w.mu.Lock()
		w.waiting.bulk.remove(t)
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
}
