/** The few parts of Node that `node-websocket.ts` uses, so that no package of types is needed to build. */

declare module "node:http" {
  interface NodeSocket {
    write(data: Uint8Array): boolean;
    end(): void;
    destroy(): void;
    setNoDelay(on: boolean): void;
    setTimeout(ms: number): void;
    on(event: "data", listener: (data: Uint8Array) => void): void;
    on(event: "error", listener: (error: Error) => void): void;
    on(event: "close", listener: () => void): void;
  }
  interface Answer {
    statusCode?: number;
    headers: Record<string, string | undefined>;
    on(event: "data", listener: (data: Uint8Array) => void): void;
    on(event: "end", listener: () => void): void;
  }
  interface Outgoing {
    on(event: "upgrade", listener: (answer: Answer, socket: NodeSocket, head: Uint8Array) => void): void;
    on(event: "response", listener: (answer: Answer) => void): void;
    on(event: "error", listener: (error: Error) => void): void;
    end(): void;
    destroy(): void;
  }
  export function request(url: string, options: { headers: Record<string, string> }): Outgoing;
}

declare module "node:https" {
  export { request } from "node:http";
}

declare module "node:crypto" {
  export function createHash(name: string): { update(text: string): { digest(encoding: "base64"): string } };
  export function randomBytes(count: number): Uint8Array;
}
