package drive

import (
	"context"
	"fmt"
	"strings"
)

// cdp drives Chromium. A tab is the session id of its target.
type cdp struct{ *rpc }

func connectCDP(ctx context.Context, address string, log *log) (protocol, error) {
	r, err := dialRPC(ctx, address, func(r *rpc, e event) {
		switch e.method {
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded":
			log.add("console: " + string(e.params))
		case "Page.javascriptDialogOpening":
			r.send(e.session, "Page.handleJavaScriptDialog", map[string]any{"accept": true, "promptText": PromptAnswer})
		}
	})
	if err != nil {
		return nil, err
	}
	return &cdp{r}, nil
}

func (c *cdp) open(ctx context.Context) (string, error) {
	var target struct{ TargetID string }
	if err := c.do(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return "", err
	}
	var session struct{ SessionID string }
	params := map[string]any{"targetId": target.TargetID, "flatten": true}
	if err := c.do(ctx, "", "Target.attachToTarget", params, &session); err != nil {
		return "", err
	}
	for _, method := range []string{"Page.enable", "Runtime.enable", "Log.enable"} {
		if err := c.do(ctx, session.SessionID, method, struct{}{}, nil); err != nil {
			return "", err
		}
	}
	return session.SessionID, nil
}

func (c *cdp) closeTab(ctx context.Context, tab string) error {
	return c.do(ctx, tab, "Page.close", struct{}{}, nil)
}

// navigate returns when the new page has taken the place of the present one.
func (c *cdp) navigate(ctx context.Context, tab, url string) error {
	var result struct{ ErrorText string }
	if err := c.do(ctx, tab, "Page.navigate", map[string]any{"url": url}, &result); err != nil {
		return err
	}
	if result.ErrorText != "" {
		return fmt.Errorf("cannot be loaded: %s", result.ErrorText)
	}
	return nil
}

func (c *cdp) eval(ctx context.Context, tab, expression string) (string, error) {
	var result struct {
		Result           struct{ Value string }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	params := map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}
	if err := c.do(ctx, tab, "Runtime.evaluate", params, &result); err != nil {
		return "", err
	}
	if e := result.ExceptionDetails; e != nil {
		return "", fmt.Errorf("%s %s", e.Text, e.Exception.Description)
	}
	return result.Result.Value, nil
}

func (c *cdp) activate(ctx context.Context, tab string) error {
	return c.do(ctx, tab, "Page.bringToFront", struct{}{}, nil)
}

func (c *cdp) click(ctx context.Context, tab string, x, y float64) error {
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		params := map[string]any{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
		if err := c.do(ctx, tab, "Input.dispatchMouseEvent", params, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *cdp) press(ctx context.Context, tab, keys string) error {
	for i, text := range strings.Split(keys, Enter) {
		if i > 0 {
			if err := c.enter(ctx, tab); err != nil {
				return err
			}
		}
		if text == "" { // as behind an Enter, which may have left the page
			continue
		}
		if err := c.do(ctx, tab, "Input.insertText", map[string]any{"text": text}, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *cdp) enter(ctx context.Context, tab string) error {
	key := map[string]any{"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r", "type": "keyDown"}
	if err := c.do(ctx, tab, "Input.dispatchKeyEvent", key, nil); err != nil {
		return err
	}
	key["type"] = "keyUp"
	return c.do(ctx, tab, "Input.dispatchKeyEvent", key, nil)
}
