// The server's routes: /api/openapi.json.

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answer(response) {
  if (response.ok) return response;
  let message = `${response.status}`;
  try { message = (await response.json()).error.message; } catch { /* no body */ }
  throw new Refusal(response.status, message);
}

const sent = (method, body) => ({
  method,
  headers: body === undefined ? {} : { "content-type": "application/json" },
  body: body === undefined ? undefined : JSON.stringify(body),
});

export const get = async (path) => (await answer(await fetch(path))).json();
export const post = async (path, body, signal) =>
  (await answer(await fetch(path, { ...sent("POST", body), signal }))).json();
export const remove = async (path) => { await answer(await fetch(path, { method: "DELETE" })); };
export const fileOf = (job, name) => `/api/jobs/${job.id}/files/${encodeURIComponent(name)}`;

/** An image as an address for an <img>, with what the answer's head says. */
export async function image(path, body, signal) {
  const options = body === undefined ? { signal } : { ...sent("POST", body), signal };
  const response = await answer(await fetch(path, options));
  return { url: URL.createObjectURL(await response.blob()), headers: response.headers };
}

/** Sends a file; `tick` gets the share that is sent. Gives the clip, and how to stop. */
export function upload(file, tick) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.open("POST", `/api/clips?name=${encodeURIComponent(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => tick(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 201) resolve(request.response);
      else reject(new Refusal(request.status, request.response?.error?.message ?? `${request.status}`));
    };
    request.onerror = () => reject(new Refusal(0, ""));
    request.onabort = () => reject(new Refusal(-1, ""));
    request.send(file);
  });
  return { done, stop: () => request.abort() };
}
