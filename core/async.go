package tp

func (s *session) AsyncCall(serviceMethod string, arg, result any, callCmdChan chan<- CallCmd, setting ...MessageSetting) CallCmd {
	if callCmdChan == nil {
		callCmdChan = make(chan CallCmd, 10)
	} else if cap(callCmdChan) == 0 {
		panic("*session.AsyncCall(): callCmdChan channel is unbuffered")
	}
	cmd := &callCmd{logger: s.logger, sess: s, result: result, async: &asyncCall{cmds: callCmdChan}}
	defer cmd.finishPart()
	launched := false
	defer func() {
		if !launched {
			cmd.exitAsync()
		}
	}()
	r := cmd.prepare(kindCall, serviceMethod, arg, setting)
	if r == nil && s.redialable() {
		r = cmd.encode()
	}
	if r != nil {
		cmd.resolve(r)
	} else {
		s.launch(cmd)
	}
	launched = true
	return cmd
}
