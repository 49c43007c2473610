// Package sockio reads and writes sockets without waiting for the network.
//
// The runtime takes a system call for something that may wait: it is told of the
// call's beginning and end, and a monitor that finds it still under way 20 µs later
// gives the processor to another thread, which has to be woken, and which the
// caller then has to wait for. A write to a socket takes about as long, since it
// does the network's work too. So where the kernel can be told not to wait
// (MSG_DONTWAIT, whatever the descriptor's own mode), the runtime is not told of
// calls that are short: those of up to Short bytes. It cannot stop the world meanwhile.
package sockio

// Short is how much a call may move without the scheduler's knowledge.
const Short = 256 << 10
