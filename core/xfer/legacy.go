package xfer

// Reg is Register, by its name of v5, v6 and v7.
//
// Deprecated: Use Register.
func Reg(f XferFilter) { Register(f) }
