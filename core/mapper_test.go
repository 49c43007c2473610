package tp

import "testing"

func TestServiceMethodMappers(t *testing.T) {
	for _, test := range []struct{ name, http, rpc string }{
		{"AaBb", "/aa_bb", "AaBb"},
		{"ABcXYz", "/abc_xyz", "ABcXYz"},
		{"Aa__Bb", "/aa_bb", "Aa_Bb"},
		{"aa__bb", "/aa_bb", "aa_bb"},
		{"ABC__XYZ", "/abc_xyz", "ABC_XYZ"},
		{"Aa_Bb", "/aa/bb", "Aa.Bb"},
		{"aa_bb", "/aa/bb", "aa.bb"},
		{"ABC_XYZ", "/abc/xyz", "ABC.XYZ"},
		{"", "/", ""},
		{"UserID", "/user_id", "UserID"},
		{"ID", "/id", "ID"},
		{"GetURLById", "/get_urlby_id", "GetURLById"},
		{"HTTPServer", "/httpserver", "HTTPServer"},
		{"A1B2", "/a1_b2", "A1B2"},
		{"_Aa", "/aa", "Aa"},
		{"__Aa", "/aa", "Aa"},
		{"Aa_", "/aa_", "Aa_"},
		{"Aa__", "/aa_", "Aa_"},
		{"A___B", "/a_b", "A_B"},
		{"A____B", "/a_b", "A_B"},
		{"AB_cD", "/ab/c_d", "AB.cD"},
		{"_", "/", ""},
		{"___", "/", ""},
		{"Añb", "/añb", "Añb"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := HTTPServiceMethodMapper("", test.name); got != test.http {
				t.Errorf("HTTPServiceMethodMapper(%q) = %q; want %q", test.name, got, test.http)
			}
			if got := RPCServiceMethodMapper("", test.name); got != test.rpc {
				t.Errorf("RPCServiceMethodMapper(%q) = %q; want %q", test.name, got, test.rpc)
			}
		})
	}
}

func TestServiceMethodMapperPrefix(t *testing.T) {
	for _, test := range []struct {
		mapperName         string
		mapper             ServiceMethodMapper
		prefix, name, want string
	}{
		{"http", HTTPServiceMethodMapper, "", "test", "/test"},
		{"http", HTTPServiceMethodMapper, "/test", "Aaa", "/test/aaa"},
		{"http", HTTPServiceMethodMapper, "/aaa", "XxZz", "/aaa/xx_zz"},
		{"http", HTTPServiceMethodMapper, "/a", "/X/Y", "/a/x/y"},
		{"http", HTTPServiceMethodMapper, "/a", "X/__Y", "/a/x/y"},
		{"http", HTTPServiceMethodMapper, "/a/", "", "/a"},
		{"rpc", RPCServiceMethodMapper, "", "test", "test"},
		{"rpc", RPCServiceMethodMapper, "Aaa", "XxZz", "Aaa.XxZz"},
		{"rpc", RPCServiceMethodMapper, "Bbb", "YyZz", "Bbb.YyZz"},
		{"rpc", RPCServiceMethodMapper, "a", "", "a"},
	} {
		t.Run(test.mapperName+" "+test.prefix+" "+test.name, func(t *testing.T) {
			if got := test.mapper(test.prefix, test.name); got != test.want {
				t.Errorf("mapper(%q, %q) = %q; want %q", test.prefix, test.name, got, test.want)
			}
		})
	}
}

func TestSetServiceMethodMapper(t *testing.T) {
	t.Cleanup(func() { SetServiceMethodMapper(nil) })
	if got := defaultMapper()("", "AaBb"); got != "/aa_bb" {
		t.Errorf("mapper at the start maps AaBb to %q; want /aa_bb", got)
	}
	SetServiceMethodMapper(RPCServiceMethodMapper)
	snapshot := defaultMapper()
	SetServiceMethodMapper(nil)
	if got := snapshot("", "AaBb"); got != "AaBb" {
		t.Errorf("a snapshot of the RPC mapper maps AaBb to %q; want AaBb", got)
	}
	if got := defaultMapper()("", "AaBb"); got != "/aa_bb" {
		t.Errorf("mapper after SetServiceMethodMapper(nil) maps AaBb to %q; want /aa_bb", got)
	}
}
