package main

// want is what the two sides of an example print, wherever they run and in whatever
// language they are written. A * stands for any text.
type want struct {
	back, front []string
	// javascript is what the backend in JavaScript prints where that is something
	// else: AutobahnJS does not tell callees that a call was given up.
	javascript []string
}

// trusted is printed in place of a login inside the router's process.
const trusted = "internal-*, role trusted, by internal"

var wants = map[string]want{
	"beginner": {
		back:  []string{"hello from the frontend", "2 * 3 + 4 = 10"},
		front: []string{"calculated: 10", "the result is 10"},
	},
	"pubsub/basic": {
		back:  []string{"event 0", "event 1", "event 2"},
		front: []string{"published 0", "published 1", "published 2"},
	},
	"pubsub/complex": {
		back:  []string{"heartbeat", "reading 21.5 Cel [north roof]", "reading 40.25 % []"},
		front: []string{"published"},
	},
	"pubsub/options": {
		back:  []string{"heard: for all others", "heard: for everybody", "heard: for all but one session"},
		front: []string{"heard myself: for everybody", "heard myself: for one session"},
	},
	"pubsub/unsubscribe": {
		front: []string{"tick 1", "tick 2", "tick 4"},
	},
	"pubsub/patterns": {
		back:  []string{"kitchen, sensor 1: 21.5", "cellar, sensor 2: 12.25", "alarm in cellar.door: open"},
		front: []string{"published"},
	},
	"pubsub/retained": {
		front: []string{"the door is shut, retained: true"},
	},
	"pubsub/history": {
		front: []string{"it was 22.5", "it was 21.5"},
	},
	"rpc/timeservice": {
		front: []string{"it is 20*-*-*T*:*:*Z"},
	},
	"rpc/slowsquare": {
		front: []string{"quick: 16", "slow: 9"},
	},
	"rpc/arguments": {
		front: []string{
			"ping: pong", "add2: 5", "stars: somebody starred 0x", "stars: Homer starred 5x",
			"orders: [coffee 1 coffee 2 coffee 3]", "orders: [coffee 1 coffee 2]", "arglen: [3 2]",
			"add2: wamp.error.invalid_argument",
		},
	},
	"rpc/complex": {
		front: []string{"the sum is 6 + 8i", "forename Homer, surname Simpson"},
	},
	"rpc/errors": {
		front: []string{
			"sqrt: 4", "sqrt: negative", "checkname: Bartholomew has more than 8 letters",
			"print: wamp.error.runtime_error, out of paper",
		},
	},
	"rpc/progress": {
		front: []string{"counted to 0", "counted to 1", "counted to 2", "counted to 3"},
	},
	"rpc/cancel": {
		back:       []string{"the caller has given up"},
		front:      []string{"the work has begun", "cancelled"},
		javascript: []string{},
	},
	"rpc/options": {
		front: []string{
			"the callee knows who calls: true", "com.example.options.kitchen.light: true",
			"no answer: wamp.error.timeout",
		},
	},
	"rpc/shared": {
		front: []string{"backend 2, frontend 2"},
	},
	"template/attach": {
		back:  []string{"product 7 costs 2.5"},
		front: []string{"10 in stock", "15 in stock"},
	},
	"session/series": {
		front: []string{
			"connected", "session 1 is visit 1", "disconnected",
			"connected", "session 2 is visit 2", "disconnected",
			"connected", "session 3 is visit 3", "disconnected",
		},
	},
	"login/anonymous":  {front: []string{"anon-*, role anonymous, by anonymous"}},
	"login/ticket":     {front: []string{"joe, role operator, by ticket"}},
	"login/wampcra":    {front: []string{"joe, role operator, by wampcra"}},
	"login/scram":      {front: []string{"joe, role operator, by *scram"}},
	"login/cryptosign": {front: []string{"kim, role operator, by cryptosign"}},
	"login/tls":        {front: []string{"eve, role operator, by tls"}},
	"login/cookie":     {front: []string{"joe, role operator, by ticket", "joe, role operator, by cookie"}},
	"login/dynamic": {
		back:  []string{"asked for ann"},
		front: []string{"ann, role operator, by wampcra"},
	},
}
