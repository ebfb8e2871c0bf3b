// Server-sent events from the body of a response: EventSource can neither POST nor send a key.

/** Yields {type, ...data} for each event of a ReadableStream of bytes; comments are skipped. */
export async function* events(body) {
  let type = "message";
  let data = [];
  for await (const line of lines(body)) {
    if (line === "") {
      if (data.length) yield { ...JSON.parse(data.join("\n")), type };
      type = "message";
      data = [];
    } else if (line.startsWith("event:")) type = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) yield part.endsWith("\r") ? part.slice(0, -1) : part;
    }
  } finally {
    await reader.cancel();
  }
}
