package outbox

import "context"

// BulkFrom is the length of the smallest frame that is bulk, if its sender says so.
const BulkFrom = 16 << 10

// bulkBound is how many bytes of bulk may wait to be written.
const bulkBound = 256 << 10

// Bulk is what may be held up for the sake of others: large parts of long transfers. While
// bulkBound of it waits to be written to a Writer, more of it waits outside of the batch, so
// that a small frame finds no more than that in front of it.
//
//	if err := w.EnterBulk(ctx, b); err != nil {
//		return err
//	}
//	defer b.Leave()
//	at, err := w.Send(ctx, frame)
//	if err == nil {
//		b.Accepted(at, n)
//	}
type Bulk struct {
	turn  chan struct{} // of capacity 1; full between EnterBulk and Leave: the goroutine that has filled it owns the fields below
	ends  []bulkEnd     // in order
	bytes int           // of ends
}

// bulkEnd is where a frame of n bytes ends, counted in bytes accepted before.
type bulkEnd struct {
	at uint64
	n  int
}

// NewBulk returns the Bulk for one Writer.
func NewBulk() *Bulk { return &Bulk{turn: make(chan struct{}, 1)} }

// EnterBulk waits, in the order of the calls, until less than bulkBound of bulk waits to be
// written. The caller sends one frame, and calls Leave. The wait ends as that of Begin.
func (w *Writer) EnterBulk(ctx context.Context, b *Bulk) error {
	select {
	case b.turn <- struct{}{}:
	default:
		var ended <-chan struct{}
		if ctx != nil {
			ended = ctx.Done()
		}
		select {
		case b.turn <- struct{}{}:
		case <-ended:
			return ctx.Err()
		}
	}
	err := w.awaitBulk(ctx, b)
	if err != nil {
		b.Leave()
	}
	return err
}

// Accepted says that a frame of n bytes was accepted, and what Send has returned.
func (b *Bulk) Accepted(at uint64, n int) {
	b.ends = append(b.ends, bulkEnd{at + uint64(n), n})
	b.bytes += n
}

// Leave lets the next one enter.
func (b *Bulk) Leave() { <-b.turn }

// awaitBulk waits until there is room for bulk.
func (w *Writer) awaitBulk(ctx context.Context, b *Bulk) error {
	for {
		w.mu.Lock()
		if w.err != nil {
			defer w.mu.Unlock()
			return w.err
		}
		b.written(w.written)
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

// written forgets what ends before at.
func (b *Bulk) written(at uint64) {
	i := 0
	for ; i < len(b.ends) && b.ends[i].at <= at; i++ {
		b.bytes -= b.ends[i].n
	}
	b.ends = b.ends[:copy(b.ends, b.ends[i:])]
}
