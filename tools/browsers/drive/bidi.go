package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// maxCreates is how often Firefox is asked for a tab.
const maxCreates = 10

// bidi drives Firefox. A tab is its browsing context.
type bidi struct{ *rpc }

func connectBiDi(ctx context.Context, address string, log *log) (protocol, error) {
	r, err := dialRPC(ctx, address+"/session", func(r *rpc, e event) {
		switch e.method {
		case "log.entryAdded":
			log.add("console: " + string(e.params))
		case "browsingContext.userPromptOpened":
			var opened struct{ Context string }
			json.Unmarshal(e.params, &opened)
			answer := map[string]any{"context": opened.Context, "accept": true, "userText": PromptAnswer}
			r.send("", "browsingContext.handleUserPrompt", answer)
		}
	})
	if err != nil {
		return nil, err
	}
	b := &bidi{r}
	capabilities := map[string]any{"alwaysMatch": map[string]any{
		"acceptInsecureCerts":     true,
		"unhandledPromptBehavior": map[string]any{"default": "ignore"}, // answered above
	}}
	err = b.do(ctx, "", "session.new", map[string]any{"capabilities": capabilities}, nil)
	if err == nil {
		events := []string{"log.entryAdded", "browsingContext.userPromptOpened"}
		err = b.do(ctx, "", "session.subscribe", map[string]any{"events": events}, nil)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return b, nil
}

func (b *bidi) open(ctx context.Context) (string, error) {
	var result struct{ Context string }
	for attempts := 1; ; attempts++ {
		err := b.do(ctx, "", "browsingContext.create", map[string]any{"type": "tab"}, &result)
		// Firefox opens a tab beside the active one, which may be closing.
		if err == nil || attempts == maxCreates || !strings.Contains(err.Error(), `"no such frame"`) {
			return result.Context, err
		}
	}
}

func (b *bidi) closeTab(ctx context.Context, tab string) error {
	return b.do(ctx, "", "browsingContext.close", map[string]any{"context": tab}, nil)
}

func (b *bidi) navigate(ctx context.Context, tab, url string) error {
	return b.do(ctx, "", "browsingContext.navigate", map[string]any{"context": tab, "url": url, "wait": "complete"}, nil)
}

func (b *bidi) eval(ctx context.Context, tab, expression string) (string, error) {
	var result struct {
		Type             string
		Result           struct{ Value json.RawMessage }
		ExceptionDetails struct{ Text string }
	}
	params := map[string]any{
		"expression": expression, "target": map[string]any{"context": tab}, "awaitPromise": true, "userActivation": true,
	}
	if err := b.do(ctx, "", "script.evaluate", params, &result); err != nil {
		return "", err
	}
	if result.Type == "exception" {
		return "", fmt.Errorf("%s", result.ExceptionDetails.Text)
	}
	var text string
	err := json.Unmarshal(result.Result.Value, &text)
	return text, err
}

func (b *bidi) activate(ctx context.Context, tab string) error {
	return b.do(ctx, "", "browsingContext.activate", map[string]any{"context": tab}, nil)
}

func (b *bidi) click(ctx context.Context, tab string, x, y float64) error {
	return b.perform(ctx, tab, "pointer", []map[string]any{
		{"type": "pointerMove", "x": int(x), "y": int(y)},
		{"type": "pointerDown", "button": 0},
		{"type": "pointerUp", "button": 0},
	})
}

func (b *bidi) press(ctx context.Context, tab, keys string) error {
	var actions []map[string]any
	for _, key := range keys {
		value := string(key)
		if value == Enter {
			value = "\ue007" // of the WebDriver standard
		}
		actions = append(actions, map[string]any{"type": "keyDown", "value": value}, map[string]any{"type": "keyUp", "value": value})
	}
	return b.perform(ctx, tab, "key", actions)
}

func (b *bidi) perform(ctx context.Context, tab, device string, actions []map[string]any) error {
	return b.do(ctx, "", "input.performActions", map[string]any{
		"context": tab,
		"actions": []any{map[string]any{"type": device, "id": device, "actions": actions}},
	}, nil)
}
