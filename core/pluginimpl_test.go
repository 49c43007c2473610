package tp

import (
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// lists returns the names of the table's lists that are not empty.
func (t *hookTable) lists() (names []string) {
	v := reflect.ValueOf(t).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Kind() {
		case reflect.Slice:
			if f.Len() > 0 {
				names = append(names, v.Type().Field(i).Name)
			}
		case reflect.Array:
			if f.Index(0).Len()+f.Index(1).Len() > 0 {
				names = append(names, v.Type().Field(i).Name)
			}
		}
	}
	return names
}

// A PluginImpl uses only the hooks for which it has a function.
func TestPluginImplTakesPartWhereItHasAFunction(t *testing.T) {
	none := &PluginImpl{PluginName: "none"}
	if table := newHookTable([]Plugin{none}, []Plugin{none}); len(table.lists()) > 0 || table.mayBlock {
		t.Errorf("without a function it is in %v, may block: %v; want nothing", table.lists(), table.mayBlock)
	}
	inReader := []string{"OnPreReadHeader", "OnPostReadCallHeader", "OnPreReadCallBody", "OnPostReadPushHeader", "OnPreReadPushBody",
		"OnPostReadReplyHeader", "OnPreReadReplyBody"}
	moments := make(map[string]bool)
	impl := reflect.TypeFor[PluginImpl]()
	for i := range impl.NumField() {
		field := impl.Field(i)
		if field.Type.Kind() != reflect.Func {
			continue
		}
		t.Run(field.Name, func(t *testing.T) {
			p := &PluginImpl{PluginName: "one"}
			f := reflect.MakeFunc(field.Type, func([]reflect.Value) []reflect.Value { panic("not called") })
			reflect.ValueOf(p).Elem().Field(i).Set(f)
			table := newHookTable([]Plugin{p}, []Plugin{p})
			names := slices.DeleteFunc(table.lists(), func(name string) bool { return name == "ownHeader" })
			if len(names) != 1 {
				t.Errorf("it is in the lists %v; want one", names)
			}
			for _, name := range names {
				moments[name] = true
			}
			if want := slices.Contains(inReader, field.Name); table.mayBlock != want {
				t.Errorf("it may block the reader: %v; want %v", table.mayBlock, want)
			}
			p.NonBlocking = true
			if newHookTable([]Plugin{p}, nil).mayBlock {
				t.Error("with NonBlocking it may block the reader")
			}
		})
	}
	table := reflect.TypeFor[hookTable]()
	for i := range table.NumField() {
		f := table.Field(i)
		if k := f.Type.Kind(); (k == reflect.Slice || k == reflect.Array) && f.Name != "ownHeader" && !moments[f.Name] {
			t.Errorf("no function of PluginImpl is in the list %s", f.Name)
		}
	}
}

// login embeds PluginImpl and has a hook of its own.
type login struct {
	PluginImpl
	log *journal
}

func (l *login) PostDial(PreSession) *Rerror { l.log.add("own PostDial"); return nil }

func TestPluginImplPostRedial(t *testing.T) {
	say := func(w *world, what string) func(PreSession) *Rerror {
		return func(PreSession) *Rerror { w.log.add("%s", what); return nil }
	}
	for _, test := range []struct {
		name   string
		plugin func(*world) Plugin
		want   []string
	}{
		{"both functions", func(w *world) Plugin {
			return &PluginImpl{PluginName: "p", OnPostDial: say(w, "PostDial"), OnPostRedial: say(w, "PostRedial")}
		}, []string{"PostDial", "PostRedial"}},
		{"OnPostDial alone", func(w *world) Plugin {
			return &PluginImpl{PluginName: "p", OnPostDial: say(w, "PostDial")}
		}, []string{"PostDial", "PostDial"}},
		{"OnPostRedial alone", func(w *world) Plugin {
			return &PluginImpl{PluginName: "p", OnPostRedial: say(w, "PostRedial")}
		}, []string{"PostRedial"}},
		{"embedded, with a PostDial of its own", func(w *world) Plugin {
			return &login{PluginImpl{PluginName: "p"}, &w.log}
		}, []string{"own PostDial", "own PostDial"}},
		{"embedded, with OnPostRedial", func(w *world) Plugin {
			return &login{PluginImpl{PluginName: "p", OnPostRedial: say(w, "PostRedial")}, &w.log}
		}, []string{"own PostDial", "PostRedial"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, redials(-1), func(t *testing.T, w *world) {
				w.client.PluginContainer().AppendLeft(test.plugin(w))
				c, _ := w.pair()
				mem(c).Cut()
				pass(time.Second)
				wantReady(t, c)
				w.log.want(t, test.want...)
			})
		})
	}
}

func TestPluginImplPostExchange(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.client.PluginContainer().AppendLeft(&PluginImpl{PluginName: "p", OnPostExchange: func(ctx PreCtx, r *Rerror) {
			w.log.add("%s %v", ctx.(WriteCtx).Output().ServiceMethod(), r.HasError())
		}})
		c, _ := w.pair()
		c.Call("/fail", "x", nil)
		c.Push("/note", "x")
		synctest.Wait()
		w.log.wantAnyOrder(t, "/fail true", "/note false", "note x")
	})
}
