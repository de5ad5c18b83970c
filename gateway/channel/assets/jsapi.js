// The App Engine Channel API for pages, by Headrace: docs/channel.md; the frames are those of gateway/channel/wire.py.
// ES5, and nothing of the page is touched but `goog.appengine`.
(function (window, document) {
  "use strict";
  var PATH = "/_ah/channel/", CONNECTING = 0, OPEN = 1, CLOSING = 2, CLOSED = 3;
  var ANSWER_MS = 6000; // for a way's first frame, and for the answer to a beat
  var BEAT_MS = 45000; // a dead way shows no other sign
  var POLL_MS = 330000; // longer than a node may hold a poll
  var PATIENCE_MS = 20000; // of a channel that has never been open; one that has been lives as long as its token
  var AGAIN_MS = 200, AGAIN_MAX_MS = 8000, STEADY_MS = 5000;
  var SHUN_MS = 300000; // a way that failed where a later one went
  var LINGER_MS = 2000; // the node ends what is closed; a way that breaks first would be waited for
  var shunned = {};

  function noop() {}

  function later(work, ms) {
    return window.setTimeout(work, ms || 0);
  }

  // `done(status, text, reason)`; status 0: nobody answered.
  function ask(url, ms, done, body) {
    var request = new window.XMLHttpRequest();
    request.open(body === undefined ? "GET" : "POST", url, true);
    request.timeout = ms;
    request.onloadend = function () {
      done(request.status, request.responseText, request.statusText);
    };
    if (body !== undefined) request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded");
    request.send(body);
    return function () {
      done = noop;
      request.abort();
    };
  }

  // `start(url, line)` calls `line.frames(text)` for each list of frames, and `line.lost(status, description)`; it returns
  // `stop(isLeaving)`. A stop that `leaves` tells the node that the page leaves; one that can `say` sends a frame.
  var ways = {
    websocket: {
      path: "socket",
      needs: "WebSocket",
      start: function (url, line) {
        var socket = new window.WebSocket(url().replace(/^http/, "ws"));
        socket.onmessage = function (event) {
          line.frames("[" + event.data + "]");
        };
        socket.onclose = function () {
          line.lost();
        };
        function stop(isLeaving) {
          // 1000 means that the page leaves; any other code that it comes back.
          socket.close(isLeaving ? 1000 : 3000);
        }
        stop.leaves = true;
        stop.say = function (frame) {
          socket.send(JSON.stringify(frame));
        };
        return stop;
      }
    },
    sse: {
      path: "stream",
      needs: "EventSource",
      start: function (url, line) {
        var source = new window.EventSource(url());
        source.onmessage = function (event) {
          line.frames("[" + event.data + "]");
        };
        function shut() {
          source.close();
        }
        source.onerror = function () {
          shut();
          line.lost();
        };
        return function (isLeaving) {
          later(shut, isLeaving && LINGER_MS);
        };
      }
    },
    poll: {
      path: "poll",
      needs: "XMLHttpRequest",
      start: function (url, line) {
        var abort, timer;
        function next() {
          var began = Date.now();
          abort = ask(url(), POLL_MS, function (status, text, reason) {
            var count = line.frames(text);
            if (status !== 200 || !count) line.lost(status, reason);
            // A node that is to end holds no polls.
            else timer = later(next, count > 1 || Date.now() - began > 1000 ? 0 : 250);
          });
        }
        next();
        return function (isLeaving) {
          window.clearTimeout(timer);
          later(abort, isLeaving && LINGER_MS);
        };
      }
    }
  };

  // Where this script is from, the node is.
  function home() {
    var scripts = document.getElementsByTagName("script"), found, at;
    for (at = scripts.length - 1; at >= 0; at -= 1) {
      found = /^(.*\/_ah\/channel\/)jsapi([?#]|$)/.exec(scripts[at].src);
      if (found) return found[1];
    }
    return PATH;
  }

  function absolute(base) {
    var link = document.createElement("a");
    link.href = base;
    return link.href;
  }

  function Handler() {}
  Handler.prototype.onopen = Handler.prototype.onmessage = Handler.prototype.onerror = Handler.prototype.onclose = noop;

  function Socket(token, opt_handler, opt_options) {
    var self = this, handler = opt_handler || new Handler(), options = opt_options || {};
    var client = "", lastId = "", began = Date.now(), isOver = false, isAway = false;
    var round = [], failed = [], rounds = 0, inDoubt = false, line = null, timer = 0;
    var last = { description: "", code: 0 };

    self.readyState = CONNECTING;
    self.expires = 0;
    ["onopen", "onmessage", "onerror", "onclose", "ongap"].forEach(function (name) {
      self[name] = handler[name] || noop;
    });

    // What a page throws is the page's: the channel goes on.
    function call(name, argument) {
      try {
        if (argument === undefined) self[name]();
        else self[name](argument);
      } catch (error) {
        later(function () {
          throw error;
        });
      }
    }

    function bases() {
      var given = options.servers, list = [], at;
      if (!given || !given.length) return [absolute(Socket.BASE_URL)];
      for (at = 0; at < given.length; at += 1) list.push(absolute(given[at].replace(/\/+$/, "") + PATH));
      return list;
    }

    // All ways at all servers, the best way first.
    function plan() {
      var names = options.transports || ["websocket", "sse", "poll"], list = [], servers = bases(), at, where;
      for (at = 0; at < names.length; at += 1) {
        if (window[ways[names[at]].needs] && !(at < names.length - 1 && shunned[names[at]] > Date.now())) {
          for (where = 0; where < servers.length; where += 1) list.push({ way: names[at], base: servers[where] });
        }
      }
      return list;
    }

    function query() {
      return "?channel=" + token + (client && "&client=" + client) + (lastId && "&last_id=" + lastId);
    }

    function drop(isLeaving) {
      var old = line;
      line = null;
      window.clearTimeout(timer);
      if (old) old.end(isLeaving);
      return old;
    }

    function finish() {
      listen("removeEventListener");
      self.readyState = CLOSED;
      call("onclose");
    }

    function fail(code, description) {
      if (isOver) return;
      isOver = true;
      drop(false);
      if (self.readyState === CONNECTING) self.readyState = CLOSING;
      call("onerror", { description: description, code: code });
      finish();
    }

    function again(ms) {
      window.clearTimeout(timer);
      timer = later(function () {
        round = plan();
        failed = [];
        next();
      }, ms);
    }

    function next() {
      var choice = round.shift();
      if (choice) {
        line = new Line(choice);
        line.begin();
      } else if (self.expires && Date.now() > self.expires * 1000) {
        fail(401, "Token+timed+out.");
      } else if (self.readyState === CONNECTING && Date.now() - began > PATIENCE_MS) {
        fail(last.code, last.description);
      } else {
        again(Math.min(AGAIN_MAX_MS, AGAIN_MS * Math.pow(2, rounds)) * (0.5 + Math.random() / 2));
        rounds += 1;
      }
    }

    function opened(frame) {
      client = frame.client;
      lastId = frame.last_id;
      self.expires = frame.expires;
      inDoubt = false;
      if (self.readyState === CONNECTING) {
        self.readyState = OPEN;
        call("onopen");
      }
    }

    // One way at one server, until it is lost.
    function Line(choice) {
      var me = this, stop = null, isDone = false, watch = 0, openedAt = 0, used = token;

      function guard(ms, work) {
        window.clearTimeout(watch);
        watch = later(work, ms);
      }

      function isLost() {
        me.lost();
      }

      function beat() {
        if (stop && stop.say) {
          stop.say({ token: token });
          guard(ANSWER_MS * 2, isLost);
        }
      }

      me.begin = function () {
        // A poll that goes on is answered when there is a message.
        guard(ANSWER_MS, client && choice.way === "poll" ? me.settled : isLost);
        try {
          stop = ways[choice.way].start(function () {
            return choice.base + ways[choice.way].path + query();
          }, me);
        } catch (error) {
          isLost();
        }
        // It may be over before there was anything to stop.
        if (isDone && stop) stop(false);
      };
      me.base = choice.base;
      me.settled = function () {
        var at;
        window.clearTimeout(watch);
        for (at = 0; at < failed.length; at += 1) {
          if (failed[at].base === choice.base && failed[at].way !== choice.way) {
            shunned[failed[at].way] = Date.now() + SHUN_MS;
          }
        }
        failed = [];
        openedAt = openedAt || Date.now();
      };
      me.end = function (isLeaving) {
        isDone = true;
        window.clearTimeout(watch);
        if (stop) stop(isLeaving);
        me.leaves = stop && stop.leaves;
      };
      me.lost = function (status, description) {
        if (isDone) return;
        drop(false);
        last = { description: description || "", code: status || 0 };
        if (openedAt && Date.now() - openedAt > STEADY_MS) rounds = 0;
        // A way that opens and soon breaks, again and again, counts as one that failed.
        if (openedAt && rounds < 3) {
          again(Math.random() * AGAIN_MS * Math.pow(2, rounds));
          rounds += 1;
        } else if (status >= 400 && status < 500 && status !== 408 && status !== 429 && !self.expires) {
          fail(status, description);
        } else {
          inDoubt = true;
          failed.push(choice);
          next();
        }
      };
      // A new token for a line that is open.
      me.refresh = function () {
        if (openedAt && stop.say) beat();
        else if (choice.way !== "poll") back();
      };
      // Returns how many there were; 0: this is not from a node.
      me.frames = function (text) {
        var list, at;
        try {
          list = JSON.parse(text);
        } catch (error) {
          return 0;
        }
        for (at = 0; at < list.length && !isDone; at += 1) take(list[at]);
        if (!isDone && openedAt && stop && stop.say) guard(BEAT_MS, beat);
        return isDone ? 0 : list.length;
      };

      function take(frame) {
        if (frame.open) {
          me.settled();
          opened(frame.open);
          if (!isDone && token !== used) me.refresh();
          used = token;
        } else if (frame.id) {
          lastId = frame.id;
          if (frame.data !== "") call("onmessage", { data: frame.data });
        } else if (frame.refreshed) {
          self.expires = frame.refreshed.expires;
        } else if (frame.gap !== undefined) {
          call("ongap", { count: frame.gap });
        } else if (frame.error) {
          refused(frame.error.code, frame.error.description);
        }
      }

      function refused(code, description) {
        if (code >= 500) {
          me.lost(code, description);
        } else if (code === 409 && inDoubt && client && choice.way === "poll") {
          // What took over may be a way of this page that was lost before it could know. Only a poll is not told so.
          client = "";
          inDoubt = false;
          round.unshift(choice);
          drop(false);
          next();
        } else {
          fail(code, description);
        }
      }
    }

    function goodbye(base) {
      return base + "dev?command=disconnect&channel=" + token + "&client=" + client;
    }

    // The page is unloaded: what is asked now must be asked at once.
    function away() {
      var old, request;
      if (isAway || self.readyState > OPEN) return;
      isAway = true;
      old = drop(true);
      if (!client || !old || old.leaves) return;
      try {
        if (window.Request && "keepalive" in window.Request.prototype) {
          window.fetch(goodbye(old.base), { keepalive: true });
        } else {
          request = new window.XMLHttpRequest();
          request.open("GET", goodbye(old.base), false);
          request.send();
        }
      } catch (error) {
        // The client counts as gone a little later.
      }
    }

    function back() {
      if (self.readyState > OPEN || isOver) return;
      isAway = false;
      drop(false);
      again(0);
    }

    function listen(does) {
      window[does]("pagehide", away, false);
      window[does]("pageshow", shown, false);
      window[does]("online", back, false);
    }

    function shown(event) {
      if (event.persisted) back();
    }

    self.close = function () {
      var old;
      if (isOver || self.readyState > OPEN) return;
      isOver = true;
      self.readyState = CLOSING;
      old = drop(true);
      if (client && old && !old.leaves) ask(goodbye(old.base), ANSWER_MS, finish);
      else later(finish);
    };

    // To the application, not to the node: it gets the key of the channel and the message.
    self.send = function (data) {
      if (self.readyState !== OPEN) return false;
      var key = encodeURIComponent(token.substr(token.lastIndexOf("-") + 1));
      var form = "key=" + key + "&msg=" + encodeURIComponent(data);
      ask(PATH + "receive", POLL_MS, function (status, text, reason) {
        if ((status < 200 || status > 299) && !isOver) call("onerror", { description: reason, code: status });
      }, form);
      return true;
    };

    // Ours: the channel goes on under a new token of the same client.
    self.refresh = function (newToken) {
      token = newToken;
      if (line && !isOver) line.refresh();
    };

    listen("addEventListener");
    again(0);
  }

  function Channel(token, opt_options) {
    this.open = function (opt_handler) {
      return new Socket(token, opt_handler, opt_options);
    };
  }

  Socket.BASE_URL = home();
  Socket.ReadyState = { CONNECTING: CONNECTING, OPEN: OPEN, CLOSING: CLOSING, CLOSED: CLOSED };
  Socket.Handler = Handler;
  window.goog = window.goog || {};
  window.goog.appengine = window.goog.appengine || {};
  window.goog.appengine.Channel = Channel;
  window.goog.appengine.Socket = Socket;
})(window, document);
