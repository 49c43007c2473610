package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChooseID(t *testing.T) {
	used := map[id]string{'a': "acodec.ID", 'b': "bcodec.ID", 130: "other.ID"}
	for _, test := range []struct {
		name, asked string
		in          idRange
		proposals   string
		want        id
		err         string
	}{
		{"character", "r", projectIDs, "", 'r', ""},
		{"digit", "7", projectIDs, "", '7', ""},
		{"number", "120", projectIDs, "", 'x', ""},
		{"hexadecimal", "0x90", userIDs, "", 144, ""},
		{"first free proposal", "", projectIDs, "abc", 'c', ""},
		{"proposal outside the range", "", userIDs, "ab\xc8", 200, ""},
		{"no free proposal", "", projectIDs, "ab", 0, "no free id"},
		{"in use", "b", projectIDs, "", 0, "id b is that of bcodec.ID"},
		{"of users", "128", projectIDs, "", 0, "are 1 to 127"},
		{"of the project", "j", userIDs, "", 0, "are 128 to 239"},
		{"of tests", "250", userIDs, "", 0, "are 128 to 239"},
		{"zero", "0x0", projectIDs, "", 0, "want a printable character"},
		{"too large", "256", userIDs, "", 0, "want a printable character"},
		{"two characters", "zs", projectIDs, "", 0, "want a printable character"},
		{"space", " ", projectIDs, "", 0, "want a printable character"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := chooseID(test.asked, test.in, used, []byte(test.proposals))
			wantErr(t, err, test.err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestIDString(t *testing.T) {
	for in, want := range map[id]string{'r': "'r'", '\'': `'\''`, '\\': `'\\'`, 200: "200", 7: "7"} {
		require.Equal(t, want, in.String())
	}
}

func TestUserID(t *testing.T) {
	require.Equal(t, userID("example.com/rot13"), userID("example.com/rot13"))
	seen := map[byte]bool{}
	for _, p := range []string{"example.com/a", "example.com/b", "example.com/c", "example.org/a"} {
		require.True(t, userIDs.has(id(userID(p))), p)
		seen[userID(p)] = true
	}
	require.Greater(t, len(seen), 1)
}

func TestUsedIDs(t *testing.T) {
	files := small()
	files["core/xfer/xfer.go"] = "package xfer\n\nconst (\n\tGzip byte = 'g'\n\tMax = 9\n\tName = \"x\"\n)\n"
	files["xfers/gzip/gzip.go"] = "package gzip\n\nconst Other byte = 200\n"
	files["xfers/gzip/gzip_test.go"] = "package gzip\n\nconst Test byte = 'q'\n"
	used, err := load(t, files).usedIDs("xfers")
	require.NoError(t, err)
	require.Equal(t, map[id]string{'g': "xfer.Gzip", 200: "gzip.Other"}, used)
}
