package codec

import "testing"

// Users' codecs have the former name.
func TestLent(t *testing.T) {
	if Lent != Borrowed || Fresh|Borrowed != 3 {
		t.Errorf("Lent %d, Borrowed %d, Fresh %d; want 2, 2, 1", Lent, Borrowed, Fresh)
	}
}
