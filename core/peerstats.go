package tp

// PeerStats counts what a peer has not done, since it was made: each CALL, PUSH, reply,
// message and connection that was refused or dropped is in one of the numbers.
type PeerStats struct {
	RefusedConnections uint64 // by TLS, by a hook, or because the first bytes were no message
	RefusedCalls       uint64 // CALLs answered with ErrNotRun: MaxHandlers, SessionMemory, ReadMemory, draining
	DroppedPushes      uint64 // PUSHes whose handler did not run; its error is in the log
	DroppedMessages    uint64 // of an unexpected type, or not readable
	DroppedReplies     uint64 // replies to no pending call, mostly of calls that had ended with their context
	UnsentReplies      uint64 // of handlers that ran, because the connection ended or the context age was over
	UnsentPushes       uint64 // PUSHes of this side that their PushPolicy has dropped or refused
	CanceledCalls      uint64 // CALLs whose caller gave up before they were answered
	DroppedData        uint64 // DATA, and credit, of streams that are not open, mostly since they have just ended
	MemoryCloses       uint64 // connections ended since messages took more than ReadMemory or twice SessionMemory
	Pauses             uint64 // how often a reader waited for memory
	Memory             int64  // bytes of messages now, as ReadMemory counts them
}
