// Search in a site opened from a file. Browsers start no Worker there, so the search's script runs in a frame instead.
// Material for MkDocs' search asks for this class by its name. Nothing is loaded from elsewhere.
window.IFrameWorker = class extends EventTarget {
  constructor(url) {
    super();
    this.waiting = [];
    const frame = document.createElement("iframe");
    frame.hidden = true;
    frame.title = "search";
    document.body.append(frame);
    const inside = frame.contentWindow;
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data })); // from the script to us
    inside.importScripts = (...urls) => urls.reduce((before, one) => before.then(() => this.load(frame, one)), Promise.resolve());
    this.send = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
    this.load(frame, url).then(() => {
      this.loaded = true;
      for (const data of this.waiting) this.send(data);
    });
  }
  load(frame, url) {
    return new Promise((resolve, reject) => {
      const script = frame.contentDocument.createElement("script");
      script.src = String(url);
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${url} cannot be read`));
      frame.contentDocument.body.append(script);
    });
  }
  postMessage(data) {
    if (this.loaded) this.send(data);
    else this.waiting.push(data);
  }
};
if (location.protocol === "file:") window.Worker = window.IFrameWorker;
