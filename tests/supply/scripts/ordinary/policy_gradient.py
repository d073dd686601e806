from collections import deque

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical


def returns_of(rewards, gamma=0.99):
    total, found = 0.0, deque()
    for r in reversed(rewards):
        total = r + gamma * total
        found.appendleft(total)
    values = torch.tensor(list(found))
    return (values - values.mean()) / (values.std() + 1e-8)


def main(episodes=500):
    env = gym.make("CartPole-v1")
    policy = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
    critic = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam([*policy.parameters(), *critic.parameters()], lr=1e-2)
    running = 10.0
    for episode in range(episodes):
        state, _ = env.reset(seed=episode)
        logs, rewards, values, done = [], [], [], False
        while not done:
            inputs = torch.as_tensor(state, dtype=torch.float32)
            dist = Categorical(logits=policy(inputs))
            action = dist.sample()
            state, reward, ended, cut, _ = env.step(action.item())
            done = ended or cut
            if ended and len(rewards) < 5:
                reward = -1.0
            logs.append(dist.log_prob(action))
            values.append(critic(inputs))
            rewards.append(reward)
        targets = returns_of(rewards)
        baseline = torch.cat(values)
        advantage = targets - baseline.detach()
        loss = -(torch.stack(logs) * advantage).sum() + nn.functional.mse_loss(baseline, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running = 0.05 * sum(rewards) + 0.95 * running
        if episode % 10 == 0:
            print(episode, running)
        if running > env.spec.reward_threshold:
            break


if __name__ == "__main__":
    main()
