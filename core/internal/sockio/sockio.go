// Package sockio reads and writes sockets without waiting for the network.
//
// The runtime treats a system call as one that may block. Package syscall notifies it of
// the call's beginning and end, and if the call lasts longer than 20 µs, a monitor gives
// the processor to another thread; that thread must be woken, and the caller then waits
// for a processor. A write to a socket takes about as long, since it does the network's
// work too. So where the kernel has MSG_DONTWAIT, which holds whatever the descriptor's
// mode is, this package does not notify the runtime of calls of up to Short bytes. The
// runtime cannot stop the world during such a call.
package sockio

// Short is how many bytes a call may move without notifying the runtime.
const Short = 256 << 10
