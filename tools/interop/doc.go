// Package interop proves that programs of the older ages can be served and
// dialled. It has tests alone.
package interop
