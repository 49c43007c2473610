package tp

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// PluginContainer is the ordered list of the plugins of a peer, a group or a
// handler: left, then the groups' and the handler's own from outer to
// inner, then right. Left and right belong to the whole peer. A change applies to
// every handler, at any depth, from its next message on. It is safe for concurrent
// use.
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

// AppendLeft adds plugins at the left of the peer's list, in the order given, after
// earlier left ones. It panics for a nil plugin and for a name that is already in use.
func (c *PluginContainer) AppendLeft(plugin ...Plugin) {
	if err := c.change(func() error { c.tree.left = append(c.tree.left, plugin...); return nil }); err != nil {
		panic(err)
	}
}

// AppendRight adds plugins after all others of the peer. It panics as
// AppendLeft does.
func (c *PluginContainer) AppendRight(plugin ...Plugin) {
	if err := c.change(func() error { c.tree.right = append(c.tree.right, plugin...); return nil }); err != nil {
		panic(err)
	}
}

// Remove removes the plugin of that name. It returns an error if this container does
// not have it.
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

// GetByName returns the plugin of that name, nil if this container has none.
func (c *PluginContainer) GetByName(name string) Plugin {
	for _, p := range c.GetAll() {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

// GetAll returns a copy of the plugins in their effective order.
func (c *PluginContainer) GetAll() []Plugin {
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	return c.all()
}

// all is GetAll for callers that hold tree.mu.
func (c *PluginContainer) all() []Plugin {
	list := append([]Plugin(nil), c.tree.left...)
	list = append(list, c.middle()...)
	return append(list, c.tree.right...)
}

// GetAllMiddle returns a copy of the plugins that are neither left nor right: those of
// the groups and of the handler, from outer to inner.
func (c *PluginContainer) GetAllMiddle() []Plugin {
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	return c.middle()
}

// middle is GetAllMiddle for callers that hold tree.mu.
func (c *PluginContainer) middle() []Plugin {
	if c.parent == nil {
		return append([]Plugin(nil), c.own...)
	}
	return append(c.parent.middle(), c.own...)
}

// child returns a container with the plugins of c and, after the middle, the given
// ones.
func (c *PluginContainer) child(plugin []Plugin) (*PluginContainer, error) {
	kid := &PluginContainer{tree: c.tree, parent: c, own: slices.Clone(plugin)}
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	if err := kid.verify(); err != nil {
		return nil, err
	}
	kid.compile()
	c.kids = append(c.kids, kid)
	return kid, nil
}

// drop takes the container, if it is not nil, away from its parent: no later change concerns
// it, and its plugins' names are free.
func (c *PluginContainer) drop() {
	if c == nil {
		return
	}
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	c.parent.kids = slices.DeleteFunc(c.parent.kids, func(kid *PluginContainer) bool { return kid == c })
}

// change runs f, which appends to left or right or removes a plugin, under the lock, and
// compiles all hook tables again. If the result has a nil plugin, or one name twice in one
// effective list, it undoes what was appended.
func (c *PluginContainer) change(f func() error) error {
	c.tree.mu.Lock()
	defer c.tree.mu.Unlock()
	left, right := c.tree.left, c.tree.right
	c.tree.left, c.tree.right = left[:len(left):len(left)], right[:len(right):len(right)]
	err := f()
	root := c
	for root.parent != nil {
		root = root.parent
	}
	if err == nil {
		err = root.verify()
	}
	if err != nil {
		c.tree.left, c.tree.right = left, right
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
		if _, ok := p.(interface{ forRoutes() }); ok {
			return errors.New("tp: Ordered, Doc and Label are for routes and groups, not for a peer or a PluginContainer")
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
