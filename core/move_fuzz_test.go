package tp

import (
	"bytes"
	"encoding/json"
	"testing"
)

// A record of another version of the program, or of somebody else, is refused or understood;
// what was understood is written as it was read.
func FuzzMoveRecord(f *testing.F) {
	good, err := json.Marshal(&moveRecord{
		Version: 1, Network: "tcp", Listener: "tcp 127.0.0.1:80", Protocol: "raw", State: []byte{1, 1, 1}, ID: "x", Epoch: 1, Seq: 7,
		Plugins: []moveState{{"auth", []byte("y")}}, Swap: [][]byte{{1}}, Remote: &moveAddr{"tcp", "1.2.3.4:5"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"id":"x","epoch":1,"conn":{"state":100,"below":true}}`))
	f.Add([]byte(`{"version":2,"id":"x","epoch":1}`))
	f.Add([]byte(`{"version":1,"id":"x","epoch":1,"age_left":-1}`))
	f.Add([]byte(`{"version":1,"id":"x","epoch":1,"newer":true}`))
	f.Add([]byte(`{"version":1,"id":"x","epoch":1} {}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		once, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseRecord(once)
		if err != nil {
			t.Fatalf("%s, from %q, is refused: %v", once, b, err)
		}
		if twice, _ := json.Marshal(again); !bytes.Equal(once, twice) {
			t.Errorf("%s becomes %s", once, twice)
		}
	})
}
