package tp

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// PluginContainer is the ordered list of plugins that a peer, a group or a
// handler sees: left, then the groups' and the handler's own from outer to
// inner, then right. Left and right belong to the whole peer. A change reaches
// every handler, at any depth, from its next message on. Safe for concurrent use.
type PluginContainer struct {
	tree   *pluginTree
	parent *PluginContainer
	own    []Plugin // the middle; guarded by tree.mu
	kids   []*PluginContainer
	table  atomic.Pointer[hookTable]
}

// pluginTree is what all containers of a peer share.
type pluginTree struct {
	mu          sync.Mutex // guards the plugins of all containers
	left, right []Plugin
}

func newPluginContainer() *PluginContainer {
	c := &PluginContainer{tree: new(pluginTree)}
	c.table.Store(newHookTable(nil, nil))
	return c
}

// AppendLeft adds plugins in front of all others of the peer, in the order given,
// behind earlier left ones. It panics on a nil plugin and on a name that is there already.
func (c *PluginContainer) AppendLeft(plugin ...Plugin) {
	if err := c.change(func() error { c.tree.left = append(c.tree.left, plugin...); return nil }); err != nil {
		panic(err)
	}
}

// AppendRight adds plugins behind all others of the peer. It panics as
// AppendLeft does.
func (c *PluginContainer) AppendRight(plugin ...Plugin) {
	if err := c.change(func() error { c.tree.right = append(c.tree.right, plugin...); return nil }); err != nil {
		panic(err)
	}
}

// Remove takes away the plugin of that name, which must be one this container sees.
func (c *PluginContainer) Remove(name string) error {
	return c.change(func() error {
		if name == "" {
			return errors.New("tp: plugin with an empty name cannot be removed")
		}
		if len(c.all()) == 0 {
			return errors.New("tp: no plugins are registered yet")
		}
		if removePlugin(&c.tree.left, name) || removePlugin(&c.tree.right, name) {
			return nil
		}
		for p := c; p != nil; p = p.parent {
			if removePlugin(&p.own, name) {
				return nil
			}
		}
		return fmt.Errorf("tp: cannot remove plugin %q, it does not exist", name)
	})
}

func removePlugin(list *[]Plugin, name string) bool {
	for i, p := range *list {
		if p.Name() == name {
			*list = append((*list)[:i:i], (*list)[i+1:]...)
			return true
		}
	}
	return false
}

// GetByName returns the plugin of that name, nil if this container sees none.
func (c *PluginContainer) GetByName(name string) Plugin {
	for _, p := range c.GetAll() {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// GetAll returns the plugins in their effective order; a copy.
func (c *PluginContainer) GetAll() []Plugin {
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	return c.all()
}

// all is GetAll under the lock.
func (c *PluginContainer) all() []Plugin {
	list := append([]Plugin(nil), c.tree.left...)
	list = append(list, c.middle()...)
	return append(list, c.tree.right...)
}

// GetAllMiddle returns the plugins of the groups and of the handler, from outer to
// inner: what is neither left nor right. A copy.
func (c *PluginContainer) GetAllMiddle() []Plugin {
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	return c.middle()
}

// middle is GetAllMiddle under the lock.
func (c *PluginContainer) middle() []Plugin {
	if c.parent == nil {
		return append([]Plugin(nil), c.own...)
	}
	return append(c.parent.middle(), c.own...)
}

// child returns a container that sees what c sees and, behind the middle, the
// given plugins.
func (c *PluginContainer) child(plugin []Plugin) (*PluginContainer, error) {
	kid := &PluginContainer{tree: c.tree, parent: c}
	err := c.change(func() error {
		kid.own = append(kid.own, plugin...)
		c.kids = append(c.kids[:len(c.kids):len(c.kids)], kid)
		return nil
	})
	return kid, err
}

// change runs f under the lock and compiles all hook tables anew. If the result
// has a nil plugin or one name twice in one effective list, all stays as it was.
func (c *PluginContainer) change(f func() error) error {
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	left, right := c.tree.left, c.tree.right
	c.tree.left, c.tree.right = left[:len(left):len(left)], right[:len(right):len(right)]
	own, kids := c.own, c.kids
	err := f()
	root := c
	for root.parent != nil {
		root = root.parent
	}
	if err == nil {
		err = root.verify()
	}
	if err != nil {
		c.tree.left, c.tree.right, c.own, c.kids = left, right, own, kids
		return err
	}
	root.compile()
	return nil
}

func (c *PluginContainer) verify() error {
	seen := make(map[string]bool)
	for _, p := range c.all() {
		if p == nil {
			return errors.New("tp: plugin cannot be nil")
		}
		if seen[p.Name()] {
			return fmt.Errorf("tp: repeat add plugin: %s", p.Name())
		}
		seen[p.Name()] = true
	}
	for _, kid := range c.kids {
		if err := kid.verify(); err != nil {
			return err
		}
	}
	return nil
}

func (c *PluginContainer) compile() {
	c.table.Store(newHookTable(c.all(), c.middle()))
	for _, kid := range c.kids {
		kid.compile()
	}
}

// hooks returns the compiled list of each moment.
func (c *PluginContainer) hooks() *hookTable { return c.table.Load() }
