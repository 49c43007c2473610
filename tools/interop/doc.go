// Package interop proves that programs of v5 and v7 can be served and dialled. It has
// tests alone.
package interop
