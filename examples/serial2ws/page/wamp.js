// As much of a WAMP client as the page needs, without any library: join a realm,
// subscribe and call, in JSON over WebSocket.

const HELLO = 1, WELCOME = 2, ABORT = 3, GOODBYE = 6, ERROR = 8;
const SUBSCRIBE = 32, SUBSCRIBED = 33, EVENT = 36, CALL = 48, RESULT = 50;

// join opens a session. What the router refuses is an Error.
export function join(url, realm) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, "wamp.2.json");
    const send = (...message) => socket.send(JSON.stringify(message));
    const requests = new Map(); // what waits for an answer, by request ID
    const handlers = new Map(); // of events, by subscription ID
    let last = 0;
    let over;

    const request = (type, ...rest) =>
      new Promise((resolve, reject) => {
        requests.set(++last, { resolve, reject });
        send(type, last, ...rest);
      });

    const session = {
      ended: new Promise((done) => (over = done)),
      // handler gets the arguments and keyword arguments of each event.
      async subscribe(topic, handler, options = {}) {
        // The first event may come right behind the answer.
        await request(SUBSCRIBE, options, topic).then(([subscription]) => handlers.set(subscription, handler));
      },
      async call(procedure, args = [], kwargs = {}) {
        const [, results] = await request(CALL, {}, procedure, args, kwargs);
        return results?.[0];
      },
    };

    const received = {
      [WELCOME]: () => resolve(session),
      [ABORT]: (details, reason) => reject(new Error(details.message ?? reason)),
      [GOODBYE]: () => socket.close(),
      [ERROR]: (type, id, details, uri, args) => settle(id).reject(new Error(args?.[0] ?? uri)),
      [SUBSCRIBED]: (id, subscription) => settle(id).resolve([subscription]),
      [RESULT]: (id, details, args) => settle(id).resolve([details, args]),
      [EVENT]: (subscription, publication, details, args = [], kwargs = {}) => handlers.get(subscription)?.(args, kwargs, details),
    };
    const settle = (id) => {
      const waiting = requests.get(id);
      requests.delete(id);
      return waiting;
    };

    socket.onopen = () => send(HELLO, realm, { roles: { subscriber: {}, caller: {} } });
    socket.onmessage = ({ data }) => {
      const [type, ...rest] = JSON.parse(data);
      received[type]?.(...rest);
    };
    socket.onclose = () => {
      const gone = new Error("the connection is lost");
      reject(gone); // without effect on a session that has been opened
      for (const { reject } of requests.values()) reject(gone);
      over();
    };
  });
}
