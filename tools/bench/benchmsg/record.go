package benchmsg

import (
	"fmt"
	"strings"
)

// Record is the JSON body of the candidates that send JSON: Size bytes.
type Record struct {
	ID      int64    `json:"id"`
	Name    string   `json:"name"`
	Tags    []string `json:"tags"`
	Payload string   `json:"payload"`
}

// NewRecord returns the request. A handler sets its ID to Answered.
func NewRecord() *Record {
	return &Record{ID: Asked, Name: "benchmark", Tags: []string{"push", "call", "reply"}, Payload: strings.Repeat("x", 505)}
}

// Check returns an error if the reply is wrong.
func (r *Record) Check() error {
	if r.ID != Answered || r.Name != "benchmark" || len(r.Tags) != 3 {
		return fmt.Errorf("benchmsg: reply with id %d, name %q, tags %q", r.ID, r.Name, r.Tags)
	}
	return nil
}
